#!/usr/bin/env bash
# Trains a model on a TPU VM or a GPU VM that lives as long as the training: made, used, and deleted, also on failure.
#
#   train.sh [OPTIONS] -- MODEL --data gs://DATASET --run gs://RUN [options of fma train]
#
#   --project P      the Google Cloud project         --zone Z       where the accelerator is
#   --source gs://S  source-T.tar.gz, as deploy/dataflow/submit.sh build leaves it
#   --on tpu|gpu     default tpu                      --type T       default v5litepod-8, or g2-standard-8
#   --runtime R      TPU software version, or family of the GPU VM's image
#   --spot           cheaper, and may be taken away: then another one is made, and training carries on
#   --queued         ask through a queued resource (TPUs): it waits until there is one
#   --attempts N     VMs to use one after the other; default 1, with --spot 10
#   --name N         of the VM; default fma-MODEL     --keep         do not delete it in the end
#   --dry-run        print the commands and run none
#
# The run's state lies in its folder in the bucket after every epoch, so any VM carries on from there; so does this
# script when it is called again with the same options.
# Exit code: 0 when the model is trained, 2 for a wrong call, else 1.
#
# Example: train.sh --project my-project --zone us-west4-a --spot --queued \
#   --source gs://my-fma/deploy/source-1a2b3c.tar.gz -- mel_cnn --data gs://my-fma/large --run gs://my-fma/runs/mel_cnn

# shellcheck disable=SC2034,SC2317 # the files that are sourced below use them; the traps reach tear_down
set -euo pipefail
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

TAKES="project zone source on type runtime attempts name" SWITCHES="spot queued keep dry-run"
ON=tpu ZONE=${ZONE:-} SOURCE=${SOURCE:-} SPOT="" QUEUED="" KEEP="" NAME="" TYPE="" RUNTIME="" ATTEMPTS=""
POLL_SECONDS=${POLL_SECONDS:-15} PATIENCE=${PATIENCE:-5760} # polls until a VM is there: a day

# state: vm_state, or in a dry run that it is there.
state() { if [[ -n $DRY_RUN ]]; then printf '%s' "$READY"; else vm_state; fi; }

tear_down() {
	local code=$?
	trap - EXIT
	if [[ -n $KEEP ]]; then
		say "kept: $NAME in $ZONE; it costs money until you delete it"
	elif ! delete; then
		say "could not delete $NAME in $ZONE: delete it by hand, it costs money"
		code=1
	fi
	exit "$code"
}

# delete: deletes the VM; fails where it may still be there.
delete() { [[ -z $(state) ]] || vm_delete || [[ -z $(state) ]]; }

# obtain: makes a VM and waits until it can be reached; fails where there is none to be had.
obtain() {
	local now poll
	if [[ -n $DRY_RUN || $(state) != "$READY" ]]; then
		vm_create || return 1
	else
		say "found $NAME, carrying on with it"
	fi
	for ((poll = 0; poll < PATIENCE; poll++)); do
		now=$(state)
		case $now in
		"$READY") vm_ssh true && return 0 ;;
		"" | FAILED | SUSPENDED | PREEMPTED | TERMINATED) return 1 ;;
		esac
		sleep "$POLL_SECONDS"
	done
	say "$NAME is still $now"
	return 1
}

install() {
	local unpack="mkdir -p fma && rm -f fma/.train/status && tar -xzf fma.tar.gz -C fma"
	vm_ssh "gcloud storage cp $(quote "$SOURCE") fma.tar.gz && $unpack && bash fma/deploy/tpu/install.sh $ON"
}

# train WORD...: 0 when it is done, 1 when it failed; 2 when the VM is gone.
train() {
	local now code
	while true; do
		vm_ssh "bash fma/deploy/tpu/on_vm.sh $(quoted "$@")" && return 0
		now=$(state)
		[[ $now == "$READY" || $now == UNKNOWN ]] || return 2
		# The VM is there: either the training ended, or only the connection did.
		code=$(vm_ssh "cat fma/.train/status" 2>/dev/null) || code=""
		[[ -z $code || $code == 0 ]] || { say "fma train ended with code $code" && return 1; }
		say "lost the connection to $NAME, trying again"
		sleep "$POLL_SECONDS"
	done
}

# attempt WORD...: one VM's life, as `train`.
attempt() {
	obtain || return 2
	if ! install; then
		[[ $(state) != "$READY" ]] || { say "could not install on $NAME" && return 1; }
		return 2
	fi
	train "$@"
}

main() {
	[[ $# -gt 0 ]] || { usage && exit 0; }
	read_options "$@"
	set -- ${REST[@]+"${REST[@]}"}
	need PROJECT ZONE SOURCE
	[[ $ON == tpu || $ON == gpu ]] || die "--on $ON: tpu or gpu"
	[[ $# -gt 0 && " $* " == *" --data gs://"* && " $* " == *" --run gs://"* ]] ||
		die "after -- give MODEL --data gs://... --run gs://...: a VM's own disk goes with it"
	NAME=${NAME:-fma-${1//_/-}} ATTEMPTS=${ATTEMPTS:-$([[ -n $SPOT ]] && echo 10 || echo 1)}
	SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-fma-worker@$PROJECT.iam.gserviceaccount.com}
	AT=("$NAME" --project "$PROJECT" --zone "$ZONE")
	# shellcheck source=/dev/null
	source "$HERE/${ON}_vm.sh"
	trap tear_down EXIT
	trap 'exit 130' INT TERM

	local number code
	for ((number = 1; number <= ATTEMPTS; number++)); do
		attempt "$@" --device "$ON" && exit 0 || code=$?
		[[ $code == 2 ]] || exit 1
		say "$NAME could not be had or was taken away (VM $number of $ATTEMPTS)"
		[[ $number -lt $ATTEMPTS ]] || break
		delete || exit 1
		sleep "$POLL_SECONDS"
	done
	exit 1
}

main "$@"
