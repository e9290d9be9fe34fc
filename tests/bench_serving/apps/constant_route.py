"""The floor: a Flask route that reads the body and answers with a constant."""

from flask import Flask, Response, request

ANSWER = b'{"use_case":"vehicle_insurance","version":1,"predictions":[1],"labels":["interested"],"probabilities":[0.7]}'
app = Flask("constant")


@app.post("/predict")
def predict() -> Response:
    request.get_data()
    return Response(ANSWER, content_type="application/json")
