# What deploy/ needs in a project: services, a bucket for data and one for code, a registry of images, a network, service
# accounts and a budget.
#
#   terraform init && terraform apply -var project=my-project -var bucket=my-fma \
#     -var billing_account=012345-6789AB-CDEF01

locals {
  services = [
    "aiplatform", "artifactregistry", "billingbudgets", "cloudbuild", "cloudresourcemanager", "compute", "dataflow", "iam",
    "iap", "logging", "monitoring", "run", "serviceusage", "storage", "tpu",
  ]
}

resource "google_project_service" "needed" {
  for_each           = toset(local.services)
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

resource "google_storage_bucket" "music" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = { app = "fma" }

  # Deleted objects can be restored for a week. Only small ones (dataset.json, a run's state) are ever overwritten.
  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  # No rule for datasets and runs: dataset.json lists files of any age.
  lifecycle_rule {
    condition {
      age            = var.temporary_days
      matches_prefix = ["dataflow/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.needed]
}

# What is executed by accounts that may do more than the workers: source archives, the Flex Template, sources of builds.
resource "google_storage_bucket" "code" {
  name                        = "${var.bucket}-code"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = { app = "fma" }

  lifecycle_rule {
    condition {
      age            = var.temporary_days
      matches_prefix = ["builds/"]
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.needed]
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "fma"
  location      = var.region
  format        = "DOCKER"
  description   = "Images, by git commit."

  # What has run under a name once is what runs under it always.
  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-after-90-days"
    action = "DELETE"
    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.needed]
}
