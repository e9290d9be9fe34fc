"""What a model card says of its version: number, date, run, rows, commit, and how to load it.

Most of it is not known while the card is drawn, in the evaluation; `push` fills it in before it signs the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

PLACE = "<!-- provenance -->"  # in the card, where this goes


@dataclass(frozen=True)
class Provenance:
    """Where a version comes from. `made` is ISO 8601, `who` started the run."""

    use_case: str
    number: int
    made: str
    run_id: str
    who: str
    run_url: str | None
    rows: int
    quarantined: int
    data_sha256: str
    configuration_sha256: str
    commit: str | None
    seed: int

    @property
    def python(self) -> str:
        """Three lines that load the model and predict its example."""
        return "\n".join([
            "from updraft.registry.load_model import load_model",
            f"model = load_model({self.use_case!r}, version={self.number})",
            "print(model.predict(model.signature.frame([model.signature.example])))",
        ])


def fill_in(card: str, provenance: Provenance) -> str:
    """Return a card with the provenance of its version; one that is not drawn for it stays as it is."""
    return card.replace(PLACE, _section(provenance), 1)


def _section(of: Provenance) -> str:
    facts = {
        "version": str(of.number),
        "made": f"{of.made[:16].replace('T', ' ')} UTC",
        "run": of.run_id,
        "started by": of.who,
        "page of the run": of.run_url or "",
        "rows of the dataset": f"{of.rows:,}; {of.quarantined:,} more did not fit and were quarantined",
        "sha256 of the dataset": of.data_sha256,
        "sha256 of YAML and suite": of.configuration_sha256,
        "commit": of.commit or "unknown",
        "seed": str(of.seed),
    }
    # The service, whose pages may be open, leaves out the lines about a person.
    lines = [
        f"<tr{' class=person' if name == 'started by' else ''}><th>{name}</th><td>{escape(text)}</td></tr>"
        for name, text in facts.items()
        if text
    ]
    return "\n".join([
        "<h2>Version</h2>",
        '<div class="scroll"><table class="words">',
        *lines,
        "</table></div>",
        "<h2>Load it in Python</h2>",
        "<p>With this repository's packages, and UPDRAFT_REGISTRY, UPDRAFT_VERIFY_KEY and the login of S3 in the",
        "environment. The signature and the hashes are verified before a byte is loaded.</p>",
        f'<pre class="scroll" id="python">{escape(of.python)}</pre>',
    ])
