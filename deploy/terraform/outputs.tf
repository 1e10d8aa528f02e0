output "bucket" {
  description = "For --bucket of deploy/dataflow/submit.sh."
  value       = "gs://${google_storage_bucket.music.name}"
}

output "code" {
  description = "For --code of deploy/dataflow/submit.sh, which expects this name."
  value       = "gs://${google_storage_bucket.code.name}"
}

output "images" {
  description = "Where the images are put."
  value = join("/", [
    "${var.region}-docker.pkg.dev", var.project, google_artifact_registry_repository.images.repository_id,
  ])
}

output "accounts" {
  description = "Of the workers and of the launcher."
  value       = [google_service_account.worker.email, google_service_account.launcher.email]
}
