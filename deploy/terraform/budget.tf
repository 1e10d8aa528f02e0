# The budgets API answers with the project's number: with its id, each plan would show a change.
data "google_project" "this" {
  count      = var.billing_account == "" ? 0 : 1
  project_id = var.project

  depends_on = [google_project_service.needed]
}

# Mail to the billing account's administrators. An alert stops nothing; Dataflow's --max_num_workers and
# deploy/tpu/train.sh's --hours limit what can be spent.
resource "google_billing_budget" "monthly" {
  count           = var.billing_account == "" ? 0 : 1
  billing_account = var.billing_account
  display_name    = "fma"

  budget_filter {
    projects = ["projects/${data.google_project.this[0].number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  depends_on = [google_project_service.needed]
}
