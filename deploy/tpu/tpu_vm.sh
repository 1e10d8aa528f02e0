# shellcheck shell=bash disable=SC2034,SC2154 # AT, SPOT and the others are train.sh's, READY is for it
# A TPU VM, as train.sh uses it: vm_create, vm_state, vm_ssh, vm_delete. One host, or a slice of several.
#
# Example:  source lib.sh; source tpu_vm.sh; AT=(fma --project my-project --zone us-central1-a); vm_state

TYPE=${TYPE:-v5litepod-8}
READY=READY
BACKEND=${BACKEND:-jax}

# Of https://docs.cloud.google.com/tpu/docs/runtimes. A type's number counts chips, and cores where there are two on each
# chip; up to 8 of either are one host.
[[ $TYPE =~ ^(v2|v3|v4|v5litepod|v5p|v6e)-([0-9]+)$ ]] || {
	[[ $TYPE != *7x* ]] || die "--type $TYPE: Google offers TPU7x on GKE and Compute Engine, not as the TPU VMs used here"
	die "--type $TYPE: no TPU VM is called so; try v6e-8, v5litepod-8, v5p-8 or v4-8, or more than 8 for a slice"
}
case ${BASH_REMATCH[1]} in
v6e) RUNTIME=${RUNTIME:-v2-alpha-tpuv6e} ;;
v5p) RUNTIME=${RUNTIME:-v2-alpha-tpuv5} ;;
v5litepod) RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite} ;;
*) RUNTIME=${RUNTIME:-tpu-ubuntu2204-base} ;;
esac
HOSTS=$((BASH_REMATCH[2] > 8 ? 2 : 1)) # or more
if [[ $BACKEND == tensorflow ]]; then
	[[ ${BASH_REMATCH[1]} != v5p && ${BASH_REMATCH[1]} != v6e ]] ||
		die "--type $TYPE: TensorFlow's support of TPUs ends with v5e; leave out --backend tensorflow"
	((HOSTS == 1)) || die "--type $TYPE: several hosts train with JAX only; leave out --backend tensorflow"
fi

vm_create() {
	local flags=(--accelerator-type "$TYPE" --service-account "$SERVICE_ACCOUNT" --labels app=fma
		--network "$NETWORK" --subnetwork "$SUBNETWORK")
	[[ -z $SPOT ]] || flags+=(--spot)
	[[ -z $INTERNAL_IPS ]] || flags+=(--internal-ips)
	if [[ -n $QUEUED ]]; then
		local track=""
		# Only the alpha command has these options. The hour is for this script to delete what it made.
		[[ -z $FLEX_START ]] || { track=alpha && flags+=(--provisioning-model flex-start --max-run-duration "$((HOURS + 1))h"); }
		# Without an end, a request whose script was killed could create a TPU days later that nothing deletes.
		attended gcloud ${track:+"$track"} compute tpus queued-resources create "${AT[@]}" --node-id "$NAME" \
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

# vm_ssh COMMAND [0]: runs a command on every host, or on the first one only.
vm_ssh() {
	local worker=()
	((HOSTS == 1)) || worker=(--worker "${2:-all}")
	# Only the alpha command reaches a TPU without a public address.
	attended gcloud ${INTERNAL_IPS:+alpha} compute tpus tpu-vm ssh "${AT[@]}" --quiet "${worker[@]}" \
		${INTERNAL_IPS:+--tunnel-through-iap} --command "$1"
}

vm_delete() {
	if [[ -n $QUEUED ]]; then
		run gcloud compute tpus queued-resources delete "${AT[@]}" --force --quiet
	else
		run gcloud compute tpus tpu-vm delete "${AT[@]}" --quiet
	fi
}
