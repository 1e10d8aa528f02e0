#!/usr/bin/env bash
# Trains a model on a TPU VM or a GPU VM that exists only as long as the training: it is deleted also on failure.
#
#   train.sh [OPTIONS] -- MODEL --data gs://DATASET --run gs://RUN [options of fma train]
#   train.sh [OPTIONS] --delete --name N             only deletes a VM that a killed call has left
#
#   --project P      the Google Cloud project         --zone Z       where the accelerator is
#   --source gs://S  source-T-SHA256.tar.gz, written by deploy/dataflow/submit.sh build, and checked before it is run
#   --on tpu|gpu     default tpu                      --type T       default v5litepod-8, or g2-standard-8;
#                    v6e-8, v5p-8; with more than 8 a slice of several hosts, v6e-16, which all train together
#   --runtime R      TPU software version, or family of the GPU VM's image
#   --spot           cheaper, but may be preempted: then another VM is made, and training carries on
#   --queued         ask through a queued resource (TPUs), which waits for capacity
#   --flex-start     as --queued, and Google itself deletes the TPU an hour after the time limit; for at most 7 days
#   --hours N        time limit, after which the VM is deleted; default 20
#   --attempts N     VMs to use one after the other; default 1, with --spot 10
#   --name N         of the VM; default fma-MODEL-HASH, with a hash of --run
#   --network N, --subnetwork S                       default fma and fma, those of Terraform
#   --external-ips   a public address, for networks without IAP and Cloud NAT; the default, --internal-ips, has none
#   --keep           do not delete the VM at the end  --dry-run      print the commands and run none
#
# TPUs train with JAX; with --backend tensorflow among the options of fma train also with TensorFlow, up to v5e.
# The run's state is saved to its folder in the bucket after every epoch, so any VM can carry on from there; so does
# this script when it is called again with the same options.
# Exit code: 0 when the model is trained, 2 for a wrong call, 124 at the time limit, else 1.
#
# Example: train.sh --project my-project --zone us-central1-a --spot --queued \
#   --source gs://my-fma-code/source-1a2b3c-SHA256.tar.gz -- mel_cnn --data gs://my-fma/large --run gs://my-fma/runs/mel_cnn

# shellcheck disable=SC2034,SC2317 # the files that are sourced below use them; the traps reach tear_down
set -euo pipefail
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

TAKES="project zone source on type runtime hours attempts name network subnetwork"
SWITCHES="spot queued flex-start internal-ips external-ips keep delete dry-run"
ON=tpu ZONE=${ZONE:-} SOURCE=${SOURCE:-} SPOT="" QUEUED="" FLEX_START="" KEEP="" DELETE="" NAME="" TYPE="" RUNTIME="" ATTEMPTS=""
NETWORK=${NETWORK:-fma} SUBNETWORK=${SUBNETWORK:-fma} INTERNAL_IPS=1 EXTERNAL_IPS="" HOURS=20
POLL_SECONDS=${POLL_SECONDS:-15} PATIENCE=${PATIENCE:-5760} # polls until a VM is there: a day
HOUR=${HOUR:-3600} LOSSES=${LOSSES:-40}                     # connections lost in a row, each soon after it began
SOON=600 LONGEST_PAUSE=900
MADE="" ASKING="" TIMER="" ANSWER=""

# state: as vm_state; in a dry run, whether the VM has been made by now.
state() { if [[ -n $DRY_RUN ]]; then printf '%s' "${MADE:+$READY}"; else vm_state; fi; }

# pause SECONDS: sleeps until a signal comes.
pause() {
	[[ -z $DRY_RUN ]] || return 0
	sleep "$1" &
	CHILD=$!
	wait "$CHILD" || true
	CHILD=""
}

# start_time_limit: sends this script USR1 at its time limit, also while it waits for something. Nothing else would delete
# a TPU VM, or the VM of a build that runs out of time.
start_time_limit() {
	[[ -z $DRY_RUN ]] || return 0
	(
		trap 'kill "$nap"; exit' TERM
		sleep "$((HOURS * HOUR))" &
		nap=$!
		wait "$nap" && kill -USR1 "$$"
	) >/dev/null 2>&1 &
	TIMER=$!
}

tear_down() {
	local code=$?
	trap - EXIT
	trap '' INT TERM HUP USR1 # also for the gcloud that deletes: pressing Ctrl-C twice must not leave a VM
	[[ -z $TIMER ]] || kill "$TIMER" 2>/dev/null || true
	[[ -z $CHILD ]] || kill "$CHILD" 2>/dev/null || true
	rm -f "$ANSWER"
	if [[ -n $KEEP ]]; then
		say "kept: $NAME in $ZONE; it costs money until you delete it"
	elif ! delete; then
		say "could not delete $NAME in $ZONE: delete it by hand, it costs money"
		code=1
	fi
	exit "$code"
}

# delete: deletes the VM; fails if it may still be there. A VM that was asked for a moment ago may not show yet.
delete() { [[ -z $ASKING && -z $(state) ]] || vm_delete || [[ -z $(state) ]]; }

create() {
	ASKING=1
	vm_create || { ASKING="" && return 1; }
	ASKING="" MADE=1
}

# obtain: waits for a VM that can be reached: the one that exists or was asked for, else a new one; fails if there is no
# capacity.
obtain() {
	local now="" poll
	MADE=""
	for ((poll = 0; poll < PATIENCE; poll++)); do
		now=$(state)
		case $now in
		"$READY")
			[[ -n $MADE ]] || say "found $NAME, carrying on with it"
			MADE=1
			vm_ssh true && return 0
			;;
		"")
			[[ -z $MADE ]] && create || return 1
			continue
			;;
		FAILED | SUSPENDED | PREEMPTED | TERMINATED | STOPPED)
			[[ -z $MADE ]] || return 1
			say "$NAME was left $now: deleting it"
			vm_delete || return 1
			;;
		esac
		pause "$POLL_SECONDS"
	done
	say "$NAME is still $now"
	return 1
}

install() {
	local fetch unpack="mkdir -p fma && rm -f fma/.train/status && tar -xzf fma.tar.gz -C fma"
	fetch="gcloud storage cp $(quote "$SOURCE") fma.tar.gz && echo '$SHA256  fma.tar.gz' | sha256sum --check --quiet"
	vm_ssh "$fetch && $unpack && bash fma/deploy/tpu/install.sh $ON $BACKEND"
}

# train WORD...: returns 0 when training is done, 1 when it failed or cannot be reached any more, 2 when the VM is gone.
train() {
	local now code lost began
	for ((lost = 0; lost < LOSSES; lost++)); do
		began=$SECONDS
		vm_ssh "bash fma/deploy/tpu/on_vm.sh $(quoted "$@")" && return 0
		((SECONDS - began < SOON)) || lost=0
		now=$(state)
		[[ $now == "$READY" || $now == UNKNOWN ]] || return 2
		# The VM is still there: the training ended, or only the connection did.
		vm_ssh "cat fma/.train/status" 0 >"$ANSWER" 2>/dev/null || true
		code=$(<"$ANSWER")
		[[ -z $code || $code == 0 ]] || { say "fma train ended with code $code" && return 1; }
		say "lost the connection to $NAME, trying again"
		pause "$POLL_SECONDS"
	done
	say "lost the connection to $NAME $LOSSES times in a row, giving up"
	return 1
}

# attempt WORD...: trains on one VM; returns as `train`.
attempt() {
	obtain || return 2
	if ! install; then
		[[ $(state) != "$READY" ]] || { say "could not install on $NAME" && return 1; }
		return 2
	fi
	train "$@"
}

# attempts WORD...: trains on one VM after the other, with growing pauses: where there is no capacity now, there will be
# none a moment later.
attempts() {
	local number code rest=$POLL_SECONDS
	for ((number = 1; number <= ATTEMPTS; number++)); do
		attempt "$@" --device "$ON" --backend "$BACKEND" && return 0 || code=$?
		[[ $code == 2 ]] || return 1
		say "$NAME could not be had or was taken away (VM $number of $ATTEMPTS)"
		[[ $number -lt $ATTEMPTS ]] || break
		delete || return 1
		pause "$rest"
		rest=$((rest * 2 < LONGEST_PAUSE ? rest * 2 : LONGEST_PAUSE))
	done
	return 1
}

# check WORD...: rejects what would fail later, and completes the options.
check() {
	need PROJECT ZONE
	[[ $ON == tpu || $ON == gpu ]] || die "--on $ON: tpu or gpu"
	[[ $HOURS =~ ^[1-9][0-9]*$ ]] || die "--hours $HOURS: a whole number, at least 1"
	[[ -z $EXTERNAL_IPS ]] || INTERNAL_IPS=""
	[[ -z $FLEX_START ]] || QUEUED=1
	[[ -z $SPOT || -z $FLEX_START ]] || die "--spot and --flex-start exclude each other"
	[[ -z $FLEX_START || $HOURS -le 167 ]] || die "--hours $HOURS: with --flex-start at most 167"
	if [[ -n $DELETE ]]; then
		need NAME
	else
		need SOURCE
		[[ $SOURCE =~ ^gs://.*-([0-9a-f]{64})\.tar\.gz$ ]] ||
			die "--source $SOURCE: give gs://.../source-TAG-SHA256.tar.gz, as submit.sh build has named it"
		SHA256=${BASH_REMATCH[1]}
		check_run "$@"
	fi
	BACKEND=$(option --backend "$@")
	[[ -z $BACKEND || $BACKEND == jax || $BACKEND == tensorflow ]] || die "--backend $BACKEND: jax or tensorflow"
	ATTEMPTS=${ATTEMPTS:-$([[ -n $SPOT ]] && echo 10 || echo 1)}
	SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-fma-worker@$PROJECT.iam.gserviceaccount.com}
	AT=("$NAME" --project "$PROJECT" --zone "$ZONE")
	[[ -n $DRY_RUN ]] || gcloud auth print-access-token >/dev/null || {
		say "$(basename "$0"): gcloud cannot be used: install it, and run gcloud auth login"
		exit 1
	}
}

main() {
	[[ $# -gt 0 ]] || { usage && exit 0; }
	read_options "$@"
	set -- ${REST[@]+"${REST[@]}"}
	check "$@"
	# shellcheck source=/dev/null
	source "$HERE/${ON}_vm.sh"
	if [[ -n $DELETE ]]; then
		MADE=1
		delete
		exit
	fi
	ANSWER=$(mktemp)
	trap tear_down EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	trap 'say "the $HOURS hours are over (--hours)"; exit 124' USR1
	start_time_limit
	attempts "$@"
}

main "$@"
