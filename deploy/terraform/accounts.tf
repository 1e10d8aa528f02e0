# The worker's account is for what reads music and data: Dataflow's workers, training VMs, and `fma` commands in Cloud
# Build. It decodes files of unknown origin, so it may only read the code that others run. The launcher's is for what
# starts jobs and VMs: it builds the image and runs `fma ingest` and deploy/tpu/train.sh in Cloud Build. Neither may change
# the project.

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

# A Flex Template's launcher and its workers are of one account, which has to see the whole project.
resource "google_service_account" "template" {
  count        = var.flex_template ? 1 : 0
  account_id   = "fma-template"
  display_name = "fma: jobs of the Flex Template"

  depends_on = [google_project_service.needed]
}

resource "google_service_account" "serve" {
  account_id   = "fma-serve"
  display_name = "fma: services that answer with a model"

  depends_on = [google_project_service.needed]
}

# GPU VMs, by deploy/tpu/gpu_vm.sh: create one with its disk, reach it with ssh, delete it.
resource "google_project_iam_custom_role" "vms" {
  role_id = "fmaVms"
  title   = "fma: create and delete training VMs"
  permissions = [
    "compute.disks.create",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setServiceAccount",
    "compute.projects.get",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
    "compute.zoneOperations.get",
  ]

  depends_on = [google_project_service.needed]
}

# Of all VMs and disks only those whose names begin with fma-, as train.sh's do.
resource "google_project_iam_member" "launcher_vms" {
  project = var.project
  role    = google_project_iam_custom_role.vms.id
  member  = google_service_account.launcher.member

  condition {
    title = "fma-vms"
    expression = join(" && ", [
      for type, folder in { Instance = "instances", Disk = "disks" } :
      "(resource.type != 'compute.googleapis.com/${type}' || resource.name.extract('/${folder}/{name}').startsWith('fma-'))"
    ])
  }

  depends_on = [google_project_service.needed]
}

locals {
  template = google_service_account.template[*].member
  worker_roles = [
    "roles/dataflow.worker",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
  ]
  launcher_roles = [
    "roles/dataflow.developer",
    "roles/logging.logWriter",
    "roles/tpu.admin", # conditions on names are not for Cloud TPU
  ]
  template_roles = ["roles/dataflow.worker", "roles/viewer"]
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

resource "google_project_iam_member" "template" {
  for_each = toset(var.flex_template ? local.template_roles : [])
  project  = var.project
  role     = each.value
  member   = local.template[0]

  depends_on = [google_project_service.needed]
}

locals {
  readers = merge(
    { worker = google_service_account.worker.member },
    var.flex_template ? { template = one(local.template) } : {},
  )
  writers = merge(local.readers, { launcher = google_service_account.launcher.member })
}

# Objects of this one bucket; objectUser cannot change the bucket itself or who may use it.
resource "google_storage_bucket_iam_member" "objects" {
  for_each = local.writers
  bucket   = google_storage_bucket.music.name
  role     = "roles/storage.objectUser"
  member   = each.value
}

# Dataflow looks up the bucket itself before it stages files.
resource "google_storage_bucket_iam_member" "bucket" {
  for_each = local.writers
  bucket   = google_storage_bucket.music.name
  role     = "roles/storage.legacyBucketReader"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "serve" {
  bucket = google_storage_bucket.music.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.serve.member
}

# Code: only the launcher writes it.
resource "google_storage_bucket_iam_member" "read_code" {
  for_each = local.readers
  bucket   = google_storage_bucket.code.name
  role     = "roles/storage.objectViewer"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "write_code" {
  bucket = google_storage_bucket.code.name
  role   = "roles/storage.objectUser"
  member = google_service_account.launcher.member
}

resource "google_artifact_registry_repository_iam_member" "pull" {
  for_each   = local.readers
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = each.value
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
