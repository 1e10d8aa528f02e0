# A network of their own for workers and VMs, none of which has a public address: they reach Google's services directly,
# package registries through NAT, and are reached with ssh through IAP.

resource "google_compute_network" "fma" {
  name                    = "fma"
  auto_create_subnetworks = false

  depends_on = [google_project_service.needed]
}

resource "google_compute_subnetwork" "fma" {
  name                     = "fma"
  region                   = var.region
  network                  = google_compute_network.fma.id
  ip_cidr_range            = var.addresses
  private_ip_google_access = true
}

resource "google_compute_router" "fma" {
  name    = "fma"
  region  = var.region
  network = google_compute_network.fma.id
}

resource "google_compute_router_nat" "fma" {
  name                               = "fma"
  region                             = var.region
  router                             = google_compute_router.fma.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.fma.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}

# Nothing else comes in from outside: IAP asks who it is, and for roles/iap.tunnelResourceAccessor.
resource "google_compute_firewall" "ssh" {
  name          = "fma-ssh-through-iap"
  network       = google_compute_network.fma.id
  source_ranges = ["35.235.240.0/20"]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

# Dataflow's workers talk to each other, and so do the hosts of a TPU slice.
resource "google_compute_firewall" "inside" {
  name          = "fma-inside"
  network       = google_compute_network.fma.id
  source_ranges = [var.addresses]

  allow {
    protocol = "tcp"
  }
  allow {
    protocol = "udp"
  }
  allow {
    protocol = "icmp"
  }
}

resource "google_project_iam_member" "launcher_ssh" {
  project = var.project
  role    = "roles/iap.tunnelResourceAccessor"
  member  = google_service_account.launcher.member

  condition {
    title      = "ssh"
    expression = "destination.port == 22"
  }

  depends_on = [google_project_service.needed]
}
