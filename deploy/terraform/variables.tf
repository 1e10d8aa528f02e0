variable "project" {
  description = "Id of the Google Cloud project, which exists and has billing enabled."
  type        = string
}

variable "region" {
  description = "Where bucket, images and jobs are: one region for all, since traffic between regions costs money."
  type        = string
  default     = "europe-west4"
}

variable "bucket" {
  description = "Name of the bucket for music, datasets, runs and reports; unique in all of Google Cloud."
  type        = string
}

variable "billing_account" {
  description = "Id of the billing account, as 012345-6789AB-CDEF01; empty for no budget alert."
  type        = string
  default     = ""
}

variable "budget" {
  description = "Whole units of the billing account's currency in a month; mail goes out at 50%, 90% and 100%."
  type        = number
  default     = 200
}

variable "temporary_days" {
  description = "Days after which what jobs leave below dataflow/ is deleted; longer than any job runs."
  type        = number
  default     = 14
}
