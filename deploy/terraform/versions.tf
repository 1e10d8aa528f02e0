terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.20"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are asked for on behalf of a project.
  billing_project       = var.project
  user_project_override = true
}
