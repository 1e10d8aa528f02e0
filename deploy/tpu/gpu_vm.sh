# shellcheck shell=bash disable=SC2034,SC2154 # AT, SPOT and the others are train.sh's, READY is for it
# A GPU VM, as train.sh wants it: vm_create, vm_state, vm_ssh, vm_delete.
#
# Example:  source lib.sh; source gpu_vm.sh; AT=(fma --project my-project --zone europe-west4-a); vm_state

TYPE=${TYPE:-g2-standard-8}                          # one L4; a2-highgpu-1g has an A100
RUNTIME=${RUNTIME:-common-cu128-ubuntu-2204-nvidia-570} # an image family of Google's, with the driver
READY=RUNNING

vm_create() {
	local flags=()
	[[ -z $QUEUED ]] || die "--queued is for TPUs"
	[[ -z $SPOT ]] || flags+=(--provisioning-model SPOT)
	# Google deletes it after a day whatever becomes of this script.
	run gcloud compute instances create "${AT[@]}" --machine-type "$TYPE" --image-family "$RUNTIME" \
		--image-project deeplearning-platform-release --boot-disk-size 100GB --maintenance-policy TERMINATE \
		--max-run-duration 24h --instance-termination-action DELETE --service-account "$SERVICE_ACCOUNT" \
		--scopes cloud-platform --labels app=fma "${flags[@]}"
}

# vm_state: RUNNING, "" where there is none, or what the service says.
vm_state() {
	state_of gcloud compute instances describe "${AT[@]}" --format 'value(status)'
}

vm_ssh() {
	run gcloud compute ssh "${AT[@]}" --quiet --command "$1"
}

vm_delete() {
	run gcloud compute instances delete "${AT[@]}" --quiet
}
