"""Updraft: from a source of rows to a served model; a use case is a YAML and an expectation suite.

Rooms, lower ones first; a room imports only from those before it:

    model, registry       the model that is stored and served; its versions on S3. Shared with the service
    usecase               a use case's YAML and the columns of its suite
    sources, destinations where rows come from, and go to
    learning, monitoring  splits, estimators, metrics, the model card; the profile of the training data
    stages                ingest, validate, transform, train, evaluate, push; a file for each verb
    new, demo             `updraft new`; synthetic rows
    local_stack           the servers of `make up`, and `make demo`
    compose_secrets       the secrets of the Docker stack
    cli                   the `updraft` command

Stages are plain functions on folders. Airflow (`dags/`), the shell (`cli`) and the tests call the same ones.
"""
