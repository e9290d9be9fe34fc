"""Datasets that runs validated: kept on S3 by content, with a manifest that says where their rows came from."""
