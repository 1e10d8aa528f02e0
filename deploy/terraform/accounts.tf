# Two service accounts. The worker's is for Dataflow's workers, TPU VMs and GPU VMs. The launcher's is for Cloud Build,
# which builds the image and runs `fma ingest`, `fma statistics` and deploy/tpu/train.sh. Neither may change the project.

resource "google_service_account" "worker" {
  account_id   = "fma-worker"
  display_name = "fma: Dataflow workers and training VMs"

  depends_on = [google_project_service.needed]
}

resource "google_service_account" "launcher" {
  account_id   = "fma-launcher"
  display_name = "fma: Cloud Build, which starts jobs and VMs"

  depends_on = [google_project_service.needed]
}

locals {
  worker_roles = [
    "roles/dataflow.worker",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
  ]
  launcher_roles = [
    "roles/compute.instanceAdmin.v1", # GPU VMs
    "roles/dataflow.developer",
    "roles/logging.logWriter",
    "roles/tpu.admin",
  ]
}

resource "google_project_iam_member" "worker" {
  for_each = toset(local.worker_roles)
  project  = var.project
  role     = each.value
  member   = google_service_account.worker.member

  depends_on = [google_project_service.needed]
}

resource "google_project_iam_member" "launcher" {
  for_each = toset(local.launcher_roles)
  project  = var.project
  role     = each.value
  member   = google_service_account.launcher.member

  depends_on = [google_project_service.needed]
}

# Objects of this one bucket; objectUser cannot change the bucket itself or who may use it.
resource "google_storage_bucket_iam_member" "objects" {
  for_each = { worker = google_service_account.worker.member, launcher = google_service_account.launcher.member }
  bucket   = google_storage_bucket.music.name
  role     = "roles/storage.objectUser"
  member   = each.value
}

# Dataflow looks up the bucket itself before it stages files.
resource "google_storage_bucket_iam_member" "bucket" {
  for_each = { worker = google_service_account.worker.member, launcher = google_service_account.launcher.member }
  bucket   = google_storage_bucket.music.name
  role     = "roles/storage.legacyBucketReader"
  member   = each.value
}

resource "google_artifact_registry_repository_iam_member" "pull" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

resource "google_artifact_registry_repository_iam_member" "push" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.launcher.member
}

# The launcher may give jobs and VMs that it starts the worker's account, and no other one.
resource "google_service_account_iam_member" "launcher_starts_workers" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.launcher.member
}
