variable "project" {
  description = "Id of the Google Cloud project, which exists and has billing enabled."
  type        = string
}

# Some projects may use Cloud Build only in us-central1, us-west2, europe-west1, asia-east1, australia-southeast1 and
# southamerica-east1; of these, us-central1 also has the TPU type of deploy/tpu.
variable "region" {
  description = "Of the bucket, the images and the jobs: the same for all, since traffic between regions costs money."
  type        = string
  default     = "us-central1"
}

variable "bucket" {
  description = "Name of the bucket for music, datasets, runs and reports; unique in all of Google Cloud. NAME-code is that of code."
  type        = string
}

variable "billing_account" {
  description = "Id of the billing account, as 012345-6789AB-CDEF01; empty for no budget alert."
  type        = string
  default     = ""
}

variable "budget" {
  description = "A month's, in whole units of the billing account's currency; mail is sent at 50%, 90% and 100%."
  type        = number
  default     = 200
}

variable "temporary_days" {
  description = "Days after which the jobs' files below dataflow/ are deleted; longer than any job runs."
  type        = number
  default     = 14
}

variable "flex_template" {
  description = "Whether to make fma-template, the account of submit.sh template, which may read the whole project."
  type        = bool
  default     = false
}

variable "addresses" {
  description = "Internal addresses of workers and VMs."
  type        = string
  default     = "10.90.0.0/20"
}
