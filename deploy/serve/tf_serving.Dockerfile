# TF Serving with one exported SavedModel inside, for an endpoint of Vertex AI; deploy/serve/serve.sh endpoint builds it.
#
#   docker build -f deploy/serve/tf_serving.Dockerfile -t fma-tf-serving exported      (exported/model: of fma export)
#
# The names of its releases could not be looked up when this was written; --build-arg BASE=tensorflow/serving:TAG, or
# @sha256:..., pins one.
ARG BASE=tensorflow/serving:latest
FROM ${BASE}
COPY model /models/fma/1
ENV MODEL_NAME=fma
EXPOSE 8501
