#!/usr/bin/env bash
# Trains a model in a job of Vertex AI, which makes the machine, restarts it where it is lost, and ends it.
#
#   vertex.sh build [OPTIONS]                                         the image of fma train
#   vertex.sh train [OPTIONS] -- MODEL --data gs://DATASET --run gs://RUN [options of fma train]
#
#   --project P      the Google Cloud project         --region R       where the job runs
#   --bucket gs://B  that of Terraform                --code gs://C    for the builds; default gs://B-code
#   --on gpu|tpu     default gpu                      --type T         default g2-standard-8, or ct5lp-hightpu-4t
#   --tag T          of the image (default: the git commit); no tag can be built twice
#   --base I         image to build on, as NAME@sha256:... to pin it
#   --hours N        time limit, at which Vertex AI ends the job; default 20
#   --spot           cheaper, but may be preempted: then the job is restarted, and training carries on
#   --flex-start     waits up to --wait hours (default 24) for machines that are to be had sooner, for at most 7 days
#   --name N         of the job; default fma-MODEL-HASH, with a hash of --run
#   --detach         do not wait for the job          --dry-run        print the commands and run none
#
# Machines with GPUs: g2-standard-4 to -96 (L4), a2-highgpu-1g to -8g (A100), a2-ultragpu-1g to -8g (A100, 80 GB),
# a3-highgpu-1g to -8g (H100). TPUs: ct5lp-hightpu-1t, -4t, -8t (v5e), ct6e-standard-1t, -4t, -8t (v6e), each one host, with
# JAX; for several hosts see deploy/tpu/train.sh.
# The run's state is saved to its folder in the bucket after every epoch, so a restarted job carries on from there. Called
# again with the same --run, the script follows the job that is still running, if there is one.
# Exit code: 0 when the model is trained, 2 for a wrong call, else 1.
#
# Example: vertex.sh train --project my-project --region us-central1 --bucket gs://my-fma --spot \
#   -- mel_cnn --data gs://my-fma/large --run gs://my-fma/runs/mel_cnn
set -euo pipefail
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

TAKES="project region bucket code on type tag base hours wait name" SWITCHES="spot flex-start detach dry-run"
ON=gpu TYPE="" TAG=$(version) REGION=${REGION:-} BUCKET=${BUCKET:-} CODE=${CODE:-} BASE="" HOURS=20 WAIT=24 NAME=""
SPOT="" FLEX_START="" DETACH="" CONFIG=""

# machine: prints the job's machine as JSON; a type of Google's says which accelerators it has.
machine() {
	local gpu="" count=1 topology=""
	case $ON-$TYPE in
	gpu-g2-standard-4 | gpu-g2-standard-8 | gpu-g2-standard-12 | gpu-g2-standard-16 | gpu-g2-standard-32) gpu=NVIDIA_L4 ;;
	gpu-g2-standard-24) gpu=NVIDIA_L4 count=2 ;;
	gpu-g2-standard-48) gpu=NVIDIA_L4 count=4 ;;
	gpu-g2-standard-96) gpu=NVIDIA_L4 count=8 ;;
	gpu-a2-highgpu-[1248]g) gpu=NVIDIA_TESLA_A100 ;;
	gpu-a2-ultragpu-[1248]g) gpu=NVIDIA_A100_80GB ;;
	gpu-a3-highgpu-[1248]g) gpu=NVIDIA_H100_80GB ;;
	tpu-ct5lp-hightpu-1t | tpu-ct6e-standard-1t) topology=1x1 ;;
	tpu-ct5lp-hightpu-4t | tpu-ct6e-standard-4t) topology=2x2 ;;
	tpu-ct5lp-hightpu-8t | tpu-ct6e-standard-8t) topology=2x4 ;;
	*) die "--type $TYPE: unknown here for --on $ON (see --help)" ;;
	esac
	[[ $TYPE != a* ]] || count=${TYPE: -2:1}
	if [[ -n $topology ]]; then
		printf '{"machineType": "%s", "tpuTopology": "%s"}' "$TYPE" "$topology"
	else
		printf '{"machineType": "%s", "acceleratorType": "%s", "acceleratorCount": %s}' "$TYPE" "$gpu" "$count"
	fi
}

# job WORD...: prints the job as Vertex AI's CustomJobSpec.
job() {
	local args="" word scheduling machine
	machine=$(machine) || exit
	for word in "$@"; do
		args+="${args:+, }$(json "$word")"
	done
	scheduling="\"timeout\": \"$((HOURS * 3600))s\", \"restartJobOnWorkerRestart\": true"
	[[ -z $SPOT ]] || scheduling+=", \"strategy\": \"SPOT\""
	[[ -z $FLEX_START ]] || scheduling+=", \"strategy\": \"FLEX_START\", \"maxWaitDuration\": \"$((WAIT * 3600))s\""
	cat <<-JOB
		{
		  "workerPoolSpecs": [
		    {
		      "replicaCount": 1,
		      "machineSpec": $machine,
		      "containerSpec": {"imageUri": "$IMAGES/train-$ON:$TAG", "args": [$args]}
		    }
		  ],
		  "scheduling": {$scheduling},
		  "serviceAccount": "$(account fma-worker)"
		}
	JOB
}

# json WORD: prints it as a string of JSON.
json() {
	local text=${1//\\/\\\\}
	printf '"%s"' "${text//\"/\\\"}"
}

train() {
	local at=(--project "$PROJECT" --region "$REGION") id="" active
	CONFIG=$(mktemp)
	trap 'rm -f "$CONFIG"' EXIT
	job "$@" --device "$ON" --backend "$BACKEND" >"$CONFIG"
	[[ -z $DRY_RUN ]] || say "$(<"$CONFIG")"
	active="state=JOB_STATE_QUEUED OR state=JOB_STATE_PENDING OR state=JOB_STATE_RUNNING OR state=JOB_STATE_UPDATING"
	[[ -n $DRY_RUN ]] || id=$(gcloud ai custom-jobs list "${at[@]}" --filter "displayName=$NAME AND ($active)" \
		--limit 1 --format 'value(name)')
	if [[ -n $id ]]; then
		say "found $NAME, which is still running: following it"
	else
		id=$(run gcloud ai custom-jobs create "${at[@]}" --display-name "$NAME" --config "$CONFIG" --labels app=fma \
			--format 'value(name)')
		[[ -z $DRY_RUN ]] || { printf '%s\n' "$id" && id=JOB; }
	fi
	[[ -z $DETACH ]] || { say "the job is $id" && return; }
	trap 'interrupted "$id"' INT TERM
	attended gcloud ai custom-jobs stream-logs "$id" "${at[@]}" || say "the logs broke off; waiting for the job"
	wait_for_state "$id" JOB_STATE_SUCCEEDED "the same command follows it" \
		gcloud ai custom-jobs describe "$id" "${at[@]}" --format 'value(state)'
}

interrupted() {
	[[ -z $CHILD ]] || kill "$CHILD" 2>/dev/null || true
	say "the job continues; to end it: gcloud ai custom-jobs cancel $1 --region $REGION"
	exit 130
}

check() {
	need PROJECT REGION BUCKET
	check_places
	[[ $ON == tpu || $ON == gpu ]] || die "--on $ON: tpu or gpu"
	[[ $HOURS =~ ^[1-9][0-9]*$ ]] || die "--hours $HOURS: a whole number, at least 1"
	[[ $WAIT =~ ^[0-9]+$ ]] || die "--wait $WAIT: a whole number of hours"
	[[ -z $SPOT || -z $FLEX_START ]] || die "--spot and --flex-start exclude each other"
	[[ -z $FLEX_START || $HOURS -le 168 ]] || die "--hours $HOURS: with --flex-start at most 168"
	BACKEND=jax
	[[ $ON == tpu ]] || BACKEND=tensorflow
	TYPE=${TYPE:-$([[ $ON == tpu ]] && echo ct5lp-hightpu-4t || echo g2-standard-8)}
}

main() {
	read_command "$@"
	set -- ${REST[@]+"${REST[@]}"}
	check
	case $COMMAND in
	build) build_image "$IMAGES/train-$ON:$TAG" deploy/train/Dockerfile "" "EXTRA=$ON-$BACKEND" ;;
	train)
		check_run "$@"
		[[ -z $(option --device "$@")$(option --backend "$@") ]] || die "--on says which --device and --backend there are"
		train "$@"
		;;
	*) die "unknown command $COMMAND: build or train" ;;
	esac
}

main "$@"
