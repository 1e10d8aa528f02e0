# shellcheck shell=bash disable=SC2034,SC2154 # AT, SPOT and the others are train.sh's, READY is for it
# A GPU VM, as train.sh uses it: vm_create, vm_state, vm_ssh, vm_delete.
#
# Example:  source lib.sh; source gpu_vm.sh; AT=(fma --project my-project --zone us-central1-a); vm_state

TYPE=${TYPE:-g2-standard-8} # one L4; a2-highgpu-1g has an A100
# One of Google's image families with the driver. They change; to list the present ones:
# gcloud compute images list --project deeplearning-platform-release --filter family~common-cu --format 'value(family)'
RUNTIME=${RUNTIME:-common-cu129-ubuntu-2204-nvidia-580}
READY=RUNNING
BACKEND=${BACKEND:-tensorflow}
[[ -z $QUEUED ]] || die "--queued and --flex-start are for TPUs here; vertex.sh has --flex-start for GPUs"
[[ $BACKEND == tensorflow ]] || die "--backend $BACKEND: GPU VMs are installed with TensorFlow; leave it out"

vm_create() {
	local flags=(--network "$NETWORK" --subnet "$SUBNETWORK")
	[[ -z $SPOT ]] || flags+=(--provisioning-model SPOT)
	[[ -z $INTERNAL_IPS ]] || flags+=(--no-address)
	# Google deletes it an hour after this script's time limit, even if the script is killed.
	attended gcloud compute instances create "${AT[@]}" --machine-type "$TYPE" --image-family "$RUNTIME" \
		--image-project deeplearning-platform-release --boot-disk-size 100GB --maintenance-policy TERMINATE \
		--max-run-duration "$((HOURS + 1))h" --instance-termination-action DELETE --service-account "$SERVICE_ACCOUNT" \
		--scopes cloud-platform --labels app=fma "${flags[@]}"
}

# vm_state: prints RUNNING, "" if there is none, or what the service says.
vm_state() {
	state_of gcloud compute instances describe "${AT[@]}" --format 'value(status)'
}

# vm_ssh COMMAND [0]: runs a command there; it is one host.
vm_ssh() {
	attended gcloud compute ssh "${AT[@]}" --quiet ${INTERNAL_IPS:+--tunnel-through-iap} --command "$1"
}

vm_delete() {
	run gcloud compute instances delete "${AT[@]}" --quiet
}
