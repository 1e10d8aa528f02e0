#!/usr/bin/env bash
# Ingests on Dataflow.
#
#   submit.sh build    [OPTIONS]                  the worker image, the Flex Template and the trainers' source
#   submit.sh ingest   [OPTIONS] -- INGEST...     fma ingest in Cloud Build with its work on Dataflow; waits and commits
#   submit.sh template [OPTIONS] -- INGEST...     the same through the Flex Template; fma ingest then commits its result
#   submit.sh fma      [OPTIONS] -- COMMAND...    any fma command in the worker image, in Cloud Build: up to 24 hours
#   submit.sh job      [OPTIONS] -- COMMAND...    the same as a Cloud Run job: up to 7 days, tried again when it fails
#
#   --project P       the Google Cloud project            --region R       where the jobs run
#   --bucket gs://B   for temporary files; may be the dataset's bucket
#   --code gs://C     for what is executed, where Dataflow's workers may only read; default gs://B-code
#   --tag T           of the image (default: the git commit); no tag can be built twice
#   --max-workers N   default 12                          --machine M      default n2-standard-4
#   --build-machine M of Cloud Build: e2-medium (default: 1 core, 4 GB), e2-highcpu-8 (8 GB), e2-highcpu-32 (32 GB)
#   --cores N         of a Cloud Run job: 1, 2, 4 or 8    --memory M       of it; its files are in memory, too; default
#                     (default 8)                                          32Gi
#   --python V        of the image, default 3.11; must equal that of machines that start jobs without submit.sh
#   --subnetwork S    default regions/REGION/subnetworks/fma, that of Terraform
#   --dry-run         print the commands and run none
#
# Example: submit.sh ingest --project my-project --region us-central1 --bucket gs://my-fma -- \
#   --audio gs://my-fma/fma_large.zip --metadata gs://my-fma/fma_metadata.zip --subset large --out gs://my-fma/large
#
# Sizes. A shard is at most 0.4 GB in all kinds, and minutes of work. 12 workers have 96 of them at a time, a quarter of those
# of fma_large: a slow shard at the end keeps few machines waiting, and 2.4 core-hours of work end in minutes all the same.
# A worker process (one for each core) builds two shards at a time, each with a decoder process: about 0.2 GB and
# 2 x 0.1 GB, measured on 30 s clips. --track-memory 1024 lets a decoder grow by 1 GB before its track fails as
# out_of_memory, so the worst case of 4 cores is 4 x (0.2 + 2 x 1.1) = 9.6 GB: n2-standard-4 has 16, a highcpu machine
# 4. Four cores are few enough for the pool to grow and shrink in small steps. All n2 machines are Intel, so all workers
# round alike (docs/ingest.md). Shards are staged on the boot disk, 3.2 GB at a time, beside the image. Dataflow's default, 25 GB
# of pd-standard, writes about 3 MB/s, and four cores make 60: so 50 GB of pd-ssd.
set -euo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
HERE=$(dirname "${BASH_SOURCE[0]}")

TAKES="project region bucket code tag python max-workers machine build-machine cores memory subnetwork" SWITCHES="dry-run"
TAG=$(version) PYTHON=3.11 MAX_WORKERS=12 MACHINE=n2-standard-4 TRACK_MEMORY=1024 SUBNETWORK=${SUBNETWORK:-}
DISK_GB=50 DISK_TYPE=compute.googleapis.com/projects//zones//diskTypes/pd-ssd
BUILD_MACHINE="" CORES=8 MEMORY=32Gi REGION=${REGION:-} BUCKET=${BUCKET:-} CODE=${CODE:-}

build() {
	submit_build "$HERE/cloudbuild.yaml" \
		"_IMAGE=$IMAGE,_TEMPLATE=$TEMPLATE,_SOURCE=$CODE/source-$TAG,_PYTHON=$PYTHON"
}

# launch WORD...: runs one fma command in Cloud Build; ^~^ makes ~ the separator, since the words may hold commas. Only a
# command that starts a Dataflow job runs as an account that may do so.
launch() {
	local command account=fma-worker
	[[ $(option --runner "$@") != Dataflow* ]] || account=fma-launcher
	command=$(quoted "$@")
	run gcloud beta builds submit --no-source --project "$PROJECT" --region "$REGION" \
		--config "$HERE/launch.yaml" ${BUILD_MACHINE:+--machine-type "$BUILD_MACHINE"} \
		--substitutions "^~^_IMAGE=$IMAGE~_COMMAND=$command~_ACCOUNT=$(account "$account")"
}

# job WORD...: runs one fma command as a Cloud Run job. The same command is the same job; each command carries on where it was
# interrupted, so trying again costs little.
job() {
	local name
	name=fma-${1//_/-}-$(printf '%08x' "$(quoted "$@" | cksum | cut -d ' ' -f 1)")
	run gcloud run jobs deploy "$name" --project "$PROJECT" --region "$REGION" --image "$IMAGE" --command fma \
		--args "^~^$(joined "~" "$@")" --service-account "$(account fma-worker)" --cpu "$CORES" --memory "$MEMORY" \
		--task-timeout 168h --max-retries 3 --labels app=fma --execute-now --wait
}

ingest() {
	local beam=(--runner DataflowRunner --project "$PROJECT" --region "$REGION"
		--staging_location "$BUCKET/dataflow/staging" --sdk_container_image "$IMAGE" --sdk_location container
		--service_account_email "$(account fma-worker)" --worker_machine_type "$MACHINE"
		--disk_size_gb "$DISK_GB" --worker_disk_type "$DISK_TYPE"
		--max_num_workers "$MAX_WORKERS" --autoscaling_algorithm THROUGHPUT_BASED --no_use_public_ips
		--subnetwork "$SUBNETWORK" --experiments use_runner_v2 --labels app=fma)
	launch ingest --track-memory "$TRACK_MEMORY" "$@" "${beam[@]}"
}

template() {
	local parameters job
	parameters="^~^$(as_parameters --track-memory "$TRACK_MEMORY" "$@")~sdk_container_image=$IMAGE"
	job=$(run gcloud dataflow flex-template run "fma-ingest-$(date +%Y%m%d-%H%M%S)" --project "$PROJECT" \
		--region "$REGION" --template-file-gcs-location "$TEMPLATE" --parameters "$parameters" \
		--staging-location "$BUCKET/dataflow/staging" --temp-location "$BUCKET/dataflow/temp" \
		--service-account-email "$(account fma-template)" --worker-machine-type "$MACHINE" \
		--max-workers "$MAX_WORKERS" --disable-public-ips --additional-experiments use_runner_v2 \
		--additional-pipeline-options "disk_size_gb=$DISK_GB,worker_disk_type=$DISK_TYPE" \
		--additional-user-labels app=fma --subnetwork "$SUBNETWORK" --format 'value(job.id)')
	[[ -z $DRY_RUN ]] || { printf '%s\n' "$job"; job=JOB; }
	wait_for_state "$job" JOB_STATE_DONE "when it has ended, submit.sh ingest commits its result" \
		gcloud dataflow jobs describe "$job" --project "$PROJECT" --region "$REGION" --format 'value(currentState)'
	say "the job has ended; fma ingest commits what it has built"
	ingest "$@"
}

# as_parameters WORD...: prints options of fma ingest as name=value~name=value; a switch becomes name=true.
as_parameters() {
	local found="" name value
	while (($#)); do
		name=${1#--} value=true
		if [[ $name == *=* ]]; then
			value=${name#*=} name=${name%%=*}
		elif (($# > 1)) && [[ $2 != --* ]]; then
			value=$2
			shift
		fi
		found+="~${name//-/_}=$value"
		shift
	done
	printf '%s' "${found#\~}"
}

main() {
	read_command "$@"
	set -- ${REST[@]+"${REST[@]}"}
	need PROJECT REGION BUCKET
	check_places
	SUBNETWORK=${SUBNETWORK:-regions/$REGION/subnetworks/fma}
	IMAGE=$IMAGES/worker:$TAG TEMPLATE=$CODE/ingest-$TAG.json
	case $COMMAND in
	build) build ;;
	ingest | template)
		[[ " $* " == *" --out gs://"* || " $* " == *" --out=gs://"* ]] ||
			die "after -- give fma ingest's options, --out gs://... too"
		"$COMMAND" "$@"
		;;
	fma | job)
		(($#)) || die "after -- give an fma command"
		[[ $COMMAND == fma ]] || [[ $(option --runner "$@") != Dataflow* ]] || die "job starts no Dataflow job: submit.sh fma does"
		if [[ $COMMAND == fma ]]; then launch "$@"; else job "$@"; fi
		;;
	*) die "unknown command $COMMAND: build, ingest, template, fma or job" ;;
	esac
}

main "$@"
