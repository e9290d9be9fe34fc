"""Updraft: from a source of rows to a served model, a YAML and an expectation suite for each use case.

    usecase     what is to be learned              sources, files   where rows come from
    data        ingest: source → dataset; transform: dataset → split
    validation  dataset → dataset, or a raise      training         train: split → model
    evaluation  models → a decision                push             evaluation → version
    registry    versions, on S3                    model            what takes raw rows, here and in the service

Stages are plain functions on folders. Airflow (`dags/`), the shell (`cli`) and the tests call the same ones.
"""
