#!/usr/bin/env bash
# Serves a model on Google Cloud: fma serve on Cloud Run, or an exported SavedModel behind an endpoint of Vertex AI.
#
#   serve.sh build    [OPTIONS]                           the image of fma serve
#   serve.sh run      [OPTIONS] -- gs://RUN [SERVE...]    a Cloud Run service of it; RUN is also a folder of fma export
#   serve.sh endpoint [OPTIONS] -- gs://EXPORT            an endpoint with TF Serving and a folder of fma export in it
#
#   --project P        the Google Cloud project           --region R       where it is served
#   --bucket gs://B    that of Terraform                  --code gs://C    for the builds; default gs://B-code
#   --tag T            of the image (default: the git commit); no tag can be built twice
#   --base I           image to build on, as NAME@sha256:... to pin it
#   --name N           of the service or the endpoint; default fma
#   --public           anyone may call the service, without an account of Google's; costs are limited by --instances
#   --instances N      at most; default 4                 --machine M      of the endpoint; default n1-standard-2
#   --dry-run          print the commands and run none
#
# A service's container has 2 cores and 4 GiB: two songs are decoded at once, each by a process of at most 1 GiB, and
# uploads lie in memory. Cloud Run starts it when /healthz answers, that is with the model loaded, and replaces it when that
# stops. A request has at most 32 MiB there. Its account, fma-serve, may read the bucket, and nothing else.
#
# Example: serve.sh run --project my-project --region us-central1 --bucket gs://my-fma -- gs://my-fma/runs/mel_cnn
set -euo pipefail
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

TAKES="project region bucket code tag base name instances machine" SWITCHES="public dry-run"
TAG=$(version) REGION=${REGION:-} BUCKET=${BUCKET:-} CODE=${CODE:-} BASE="" NAME=fma PUBLIC="" INSTANCES=4
MACHINE=n1-standard-2

run_service() {
	local number host access=--no-allow-unauthenticated
	[[ -z $PUBLIC ]] || access=--allow-unauthenticated
	number=$(ask PROJECT_NUMBER gcloud projects describe "$PROJECT" --format 'value(projectNumber)')
	host=$NAME-$number.$REGION.run.app
	# Requests come from Cloud Run's proxy, whose address is link-local. 31 MB: Cloud Run ends requests above 32 MiB.
	run gcloud run deploy "$NAME" --project "$PROJECT" --region "$REGION" --image "$IMAGES/serve:$TAG" \
		--service-account "$(account fma-serve)" "$access" --execution-environment gen2 --cpu 2 --memory 4Gi \
		--concurrency 8 --max-instances "$INSTANCES" --timeout 300 --cpu-boost --port 8080 --labels app=fma \
		--startup-probe "httpGet.path=/healthz,httpGet.port=8080,periodSeconds=5,timeoutSeconds=4,failureThreshold=36" \
		--liveness-probe "httpGet.path=/healthz,httpGet.port=8080,periodSeconds=30,timeoutSeconds=10,failureThreshold=3" \
		--args "^~^$(joined "~" "$1" --allow-host "$host" --trust-proxy 169.254.0.0/16 --max-upload 31 "${@:2}")"
	say "the service is https://$host/"
}

# endpoint EXPORT: builds the image, and has the endpoint's traffic go to it; what it served before is undeployed.
endpoint() {
	local image=$IMAGES/tf-serving:$NAME-$TAG at=(--project "$PROJECT" --region "$REGION") model=$NAME-$TAG old one
	build_image "$image" deploy/serve/tf_serving.Dockerfile "${1%/}"
	run gcloud ai models upload "${at[@]}" --model-id "$model" --display-name "$NAME" --container-image-uri "$image" \
		--container-ports 8501 --container-predict-route /v1/models/fma:predict \
		--container-health-route /v1/models/fma --labels app=fma
	old=$(ask "" state_of gcloud ai endpoints describe "$NAME" "${at[@]}" --format 'value(name,deployedModels[].id)')
	[[ $old != UNKNOWN ]] || exit 1
	[[ -n $old ]] ||
		run gcloud ai endpoints create "${at[@]}" --endpoint-id "$NAME" --display-name "$NAME" --labels app=fma
	run gcloud ai endpoints deploy-model "$NAME" "${at[@]}" --model "$model" --display-name "$model" \
		--machine-type "$MACHINE" --min-replica-count 1 --max-replica-count "$INSTANCES" --traffic-split 0=100
	for one in $(cut -s -f 2 <<<"$old" | tr ';,' '  '); do
		run gcloud ai endpoints undeploy-model "$NAME" "${at[@]}" --deployed-model-id "$one"
	done
	say "the endpoint runs, and costs money, until: gcloud ai endpoints undeploy-model"
}

# ask DEFAULT COMMAND...: prints what a command says; with --dry-run DEFAULT.
ask() { if [[ -n $DRY_RUN ]]; then printf '%s' "$1"; else "${@:2}"; fi; }

main() {
	read_command "$@"
	set -- ${REST[@]+"${REST[@]}"}
	need PROJECT REGION BUCKET
	check_places
	[[ $INSTANCES =~ ^[1-9][0-9]*$ ]] || die "--instances $INSTANCES: a whole number, at least 1"
	[[ $NAME =~ ^[a-z][a-z0-9-]{0,38}$ ]] || die "--name $NAME: lower-case letters, digits and hyphens, at most 39"
	case $COMMAND in
	build) build_image "$IMAGES/serve:$TAG" deploy/serve/Dockerfile ;;
	run | endpoint)
		[[ ${1:-} == gs://* ]] || die "after -- give the model's folder, gs://..."
		if [[ $COMMAND == run ]]; then run_service "$@"; else endpoint "$1"; fi
		;;
	*) die "unknown command $COMMAND: build, run or endpoint" ;;
	esac
}

main "$@"
