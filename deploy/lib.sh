# shellcheck shell=bash
# What the scripts of deploy/ share: messages, --dry-run, reading options.
#
# Example, in a script:  source "$(dirname "$0")/../lib.sh"; run gcloud compute instances list --project "$PROJECT"

DRY_RUN=${DRY_RUN:-}
PROJECT=${PROJECT:-}
CHILD=""
ROOT=$(dirname "${BASH_SOURCE[0]}")/..

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE: ends the script with exit code 2: it was called wrongly.
die() {
	say "$(basename "$0"): $*"
	exit 2
}

# run COMMAND...: shows it and runs it; with --dry-run it only shows it, on standard output.
run() {
	if [[ -n $DRY_RUN ]]; then
		printf '%s\n' "$(quoted "$@")"
		return 0
	fi
	say "+ $(quoted "$@")"
	"$@"
}

# attended COMMAND...: as run, but traps of signals run while the command does. Its process is CHILD.
attended() {
	if [[ -n $DRY_RUN ]]; then
		run "$@"
		return
	fi
	say "+ $(quoted "$@")"
	"$@" &
	CHILD=$!
	local code=0
	wait "$CHILD" || code=$?
	CHILD=""
	return "$code"
}

# quoted WORD...: prints the words as one line that a shell can read.
quoted() {
	local word line=
	for word in "$@"; do
		line+="${line:+ }$(quote "$word")"
	done
	printf '%s' "$line"
}

# joined SEPARATOR WORD...: prints the words with the separator between them.
joined() {
	local IFS=$1
	shift
	printf '%s' "$*"
}

quote() {
	if [[ $1 =~ ^[A-Za-z0-9_./:=,@%+^-]+$ ]]; then
		printf '%s' "$1"
	else
		printf "'%s'" "${1//\'/\'\\\'\'}"
	fi
}

# read_options WORD...: --some-name VALUE sets SOME_NAME where TAKES has some-name, --some-name sets it to 1 where SWITCHES
# has it; what follows -- goes to REST.
read_options() {
	local name variable
	REST=()
	while (($#)); do
		name=${1#--} variable=${1#--}
		variable=${variable^^} variable=${variable//-/_}
		case $1 in
		--help | -h) usage && exit 0 ;;
		--) shift && REST=("$@") && return ;;
		esac
		if [[ $1 == --* && " $SWITCHES " == *" $name "* ]]; then
			printf -v "$variable" 1
			shift
		elif [[ $1 == --* && " $TAKES " == *" $name "* ]]; then
			(($# > 1)) || die "$1 needs a value"
			printf -v "$variable" %s "$2"
			shift 2
		else
			die "unknown option $1 (see --help)"
		fi
	done
}

# read_command WORD...: sets COMMAND to the first word and reads the others as read_options does; without a word it shows
# the help.
read_command() {
	COMMAND=${1:-}
	[[ $# -gt 0 && $COMMAND != --help && $COMMAND != -h ]] || { usage && exit 0; }
	read_options "${@:2}"
}

# option NAME WORD...: prints the value of an option in a command's words, given as --name VALUE or --name=VALUE.
option() {
	local name=$1
	shift
	while (($#)); do
		case $1 in
		"$name") printf '%s' "${2:-}" && return ;;
		"$name="*) printf '%s' "${1#*=}" && return ;;
		esac
		shift
	done
}

# need NAME...: ends the script unless each was given, as --name or in the environment as NAME.
need() {
	local name option
	for name in "$@"; do
		option=${name,,}
		[[ -n ${!name:-} ]] || die "give --${option//_/-} (see --help)"
	done
}

# state_of COMMAND...: prints what a describe command says; "" if there is no such thing, UNKNOWN if it did not answer.
# A request that failed must not look like "gone": the VM would not be deleted, and would cost money. (127 is the shell's
# own "not found", of the command.)
state_of() {
	local said errors
	errors=$(mktemp)
	if said=$("$@" 2>"$errors"); then
		printf '%s' "$said"
	elif [[ $? == 127 ]] || ! grep -q -i -E 'NOT_FOUND|not found' "$errors"; then
		cat "$errors" >&2
		printf UNKNOWN
	fi
	rm -f "$errors"
}

# account NAME: prints the address of one of Terraform's service accounts.
account() { printf '%s@%s.iam.gserviceaccount.com' "$1" "$PROJECT"; }

# check_places: completes BUCKET, CODE and IMAGES, for commands that use what Terraform has made.
# shellcheck disable=SC2034 # the scripts use IMAGES
check_places() {
	BUCKET=${BUCKET%/}
	[[ $BUCKET == gs://* ]] || die "--bucket $BUCKET: give gs://NAME"
	CODE=${CODE:-$(printf '%s' "$BUCKET" | cut -d / -f 1-3)-code} CODE=${CODE%/}
	IMAGES=$REGION-docker.pkg.dev/$PROJECT/fma
}

# check_tag: ends the script where TAG would not name what is built: images keep their tags for ever.
check_tag() {
	[[ $TAG != *-dirty && $TAG != latest ]] ||
		die "--tag: give a name that is only this build's (the default is the git commit, and here no commit has it all)"
}

# submit_build CONFIG SUBSTITUTIONS: has Cloud Build build from this repository. A build with a service account of its own
# logs to Cloud Logging, which only `gcloud beta builds submit` shows.
submit_build() {
	check_tag
	run gcloud beta builds submit "$ROOT" --project "$PROJECT" --region "$REGION" --gcs-source-staging-dir "$CODE/builds" \
		--config "$1" --substitutions "$2,_BUILDER=$(account fma-launcher)"
}

# build_image IMAGE DOCKERFILE [MODEL] [BUILD-ARG...]: builds and pushes an image, on BASE if that is set.
build_image() {
	local arguments="" one
	for one in ${BASE:+"BASE=$BASE"} "${@:4}"; do
		arguments+=" --build-arg $one"
	done
	submit_build "$ROOT/deploy/image.yaml" "_IMAGE=$1,_DOCKERFILE=$2,_MODEL=${3:-},_BUILD_ARGS=${arguments# }"
}

# check_run WORD...: ends the script unless the words are those of fma train with its folders in buckets; completes NAME, the
# same for the same run, so that two runs of a model never meet.
check_run() {
	[[ $(option --data "$@") == gs://* && $(option --run "$@") == gs://* ]] ||
		die "after -- give MODEL --data gs://... --run gs://...: a VM's own disk goes with it"
	NAME=${NAME:-fma-${1//_/-}-$(printf '%08x' "$(option --run "$@" | cksum | cut -d ' ' -f 1)")}
}

# wait_for_state JOB STATE HINT COMMAND...: returns when the command prints STATE; ends the script with code 1 when the job
# has failed, or when the command has not answered SILENCES times in a row (HINT then says what to do later).
wait_for_state() {
	local state silent=0
	if [[ -n $DRY_RUN ]]; then
		run "${@:4}"
		return
	fi
	while true; do
		if state=$("${@:4}"); then
			silent=0
		elif ((++silent >= ${SILENCES:-20})); then
			say "gave up asking for the job $1, which may still run: $3"
			exit 1
		fi
		case $state in
		"$2") return ;;
		JOB_STATE_FAILED | JOB_STATE_CANCELLED | JOB_STATE_DRAINED | JOB_STATE_EXPIRED)
			say "the job $1 ended as $state: its page in the Cloud console has its logs"
			exit 1
			;;
		esac
		sleep "${POLL_SECONDS:-30}"
	done
}

# usage: prints the comment at the top of the script, which is its help.
usage() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; }

# version: prints the name of the commit that is deployed.
version() { git -C "$(dirname "${BASH_SOURCE[0]}")" describe --always --dirty 2>/dev/null || echo latest; }
