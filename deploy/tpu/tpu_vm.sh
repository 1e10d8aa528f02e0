# shellcheck shell=bash disable=SC2034,SC2154 # AT, SPOT and the others are train.sh's, READY is for it
# A TPU VM, as train.sh uses it: vm_create, vm_state, vm_ssh, vm_delete. One host: up to 8 chips, such as v5litepod-8.
#
# Example:  source lib.sh; source tpu_vm.sh; AT=(fma --project my-project --zone us-central1-a); vm_state

TYPE=${TYPE:-v5litepod-8}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite} # tpu-ubuntu2204-base for v2 to v4
READY=READY

vm_create() {
	local flags=(--accelerator-type "$TYPE" --service-account "$SERVICE_ACCOUNT" --labels app=fma)
	[[ -z $SPOT ]] || flags+=(--spot)
	[[ -z $NETWORK ]] || flags+=(--network "$NETWORK")
	[[ -z $SUBNETWORK ]] || flags+=(--subnetwork "$SUBNETWORK")
	[[ -z $INTERNAL_IPS ]] || flags+=(--internal-ips)
	if [[ -n $QUEUED ]]; then
		# Without an end, a request whose script was killed could create a TPU days later that nothing deletes.
		attended gcloud compute tpus queued-resources create "${AT[@]}" --node-id "$NAME" \
			--runtime-version "$RUNTIME" --valid-until-duration "${HOURS}h" "${flags[@]}"
	else
		attended gcloud compute tpus tpu-vm create "${AT[@]}" --version "$RUNTIME" "${flags[@]}"
	fi
}

# vm_state: prints READY, "" if there is none, or what the service says; FAILED for a queued request that failed.
vm_state() {
	if [[ -n $QUEUED ]]; then
		local state
		state=$(state_of gcloud compute tpus queued-resources describe "${AT[@]}" --format 'value(state.state)')
		[[ $state == ACTIVE ]] || { printf '%s' "$state" && return; }
	fi
	state_of gcloud compute tpus tpu-vm describe "${AT[@]}" --format 'value(state)'
}

vm_ssh() {
	# Only the alpha command reaches a TPU without a public address.
	attended gcloud ${INTERNAL_IPS:+alpha} compute tpus tpu-vm ssh "${AT[@]}" --quiet \
		${INTERNAL_IPS:+--tunnel-through-iap} --command "$1"
}

vm_delete() {
	if [[ -n $QUEUED ]]; then
		run gcloud compute tpus queued-resources delete "${AT[@]}" --force --quiet
	else
		run gcloud compute tpus tpu-vm delete "${AT[@]}" --quiet
	fi
}
