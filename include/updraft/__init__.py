"""Updraft: from a source of rows to a served model, a YAML and an expectation suite for each use case.

    usecase     what is to be learned: the only reader of configuration
    sources     where rows come from              data        ingest: source → dataset; transform: dataset → split
    validation  dataset → dataset, or a raise     training    train: split → model; evaluate: models → evaluation
    registry    evaluation → version, on S3       model       the thing that takes raw rows, here and in the service

Stages are plain functions on folders. Airflow (`dags/`), the shell (`cli`) and the tests call the same ones.
"""
