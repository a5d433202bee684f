variable "image" {
  type        = string
  description = "The image, pinned by its digest (REPOSITORY@sha256:...)"
}

variable "migration_image" {
  type        = string
  default     = null
  description = "The image of the migration task. Apply a new version here first and run the task, then apply image; null: image"
}

variable "name" {
  type        = string
  default     = "gateway"
  description = "The beginning of the names of what is created"
}

variable "public_name" {
  type        = string
  description = "The host name that people visit; its DNS record points to the output load_balancer_name"
}

variable "certificate_arn" {
  type        = string
  description = "The certificate for public_name, in ACM and in this Region"
}

variable "vpc_id" {
  type = string
}

variable "public_subnets" {
  type        = list(string)
  description = "For the load balancer, in two Availability Zones or more"
}

variable "private_subnets" {
  type        = list(string)
  description = "For the gateway, with a route to the internet (NAT) for the providers"
}

variable "private_route_tables" {
  type        = list(string)
  description = "The route tables of private_subnets, which get the route to DynamoDB"
}

variable "create_endpoints" {
  type        = bool
  default     = true
  description = "false: the VPC has endpoints of DynamoDB and KMS already"
}

variable "environment" {
  type        = map(string)
  default     = {}
  description = "Further variables of the gateway that are no secrets: client ids, issuers, upstreams, allowed domains"
}

variable "secrets" {
  type        = map(string)
  description = "ARNs of secrets in Secrets Manager by variable: DATABASE_URL, DJANGO_SECRET_KEY, the providers' client secrets. The whole text of each is the value"

  validation {
    condition     = alltrue([for name in ["DATABASE_URL", "DJANGO_SECRET_KEY"] : contains(keys(var.secrets), name)])
    error_message = "DATABASE_URL and DJANGO_SECRET_KEY are required."
  }
}

variable "table_name" {
  type    = string
  default = "gateway-sessions"
}

variable "namespace" {
  type    = string
  default = "gateway"
}

variable "tasks" {
  type        = number
  default     = 2
  description = "0 at first: no task is ready before the migration has run. Then 2 or more"
}

variable "cpu" {
  type    = number
  default = 1024
}

variable "memory" {
  type        = number
  default     = 2048
  description = "MiB"
}

variable "log_days" {
  type    = number
  default = 30
}

variable "alarm_topic" {
  type        = string
  default     = null
  description = "ARN of the SNS topic that gets the alarms; null: nobody is told. Its policy is replaced"
}
