{# A Django template that templates.py renders. The policies in it come from policies.py. #}
terraform {
  required_providers {
    # The first version that protects replicas from deletion.
    aws = { source = "hashicorp/aws", version = "~> 6.9" }
  }
}

variable "table_name" {
  type    = string
  default = "{{ store.table }}"
}

variable "namespace" {
  type        = string
  default     = "{{ store.namespace }}"
  description = "NAMESPACE of SESSIONS_KMS"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,64}$", var.namespace))
    error_message = "Must be 1 to 64 letters, digits, dots, underscores or hyphens."
  }
}

variable "key_alias" {
  type    = string
  default = "{{ store.alias }}"
}

variable "web_service" {
  type        = string
  default     = "ecs-tasks.amazonaws.com"
  description = "The AWS service that runs the site and assumes the web role"
}

variable "operator_arn" {
  type        = string
  default     = null
  description = "ARN of the IAM principal that may assume the roles but web; null: any in this account that has the right to"
}

data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

locals {
  account_root = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}:root"
  role_prefix  = substr(var.table_name, 0, 56) # a role's name has at most 64 characters
}

resource "aws_dynamodb_table" "sessions" {
  name                        = var.table_name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = true
{% if replicas %}
  stream_enabled              = true # replication reads it
  stream_view_type            = "NEW_AND_OLD_IMAGES"
{% endif %}

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "owner"
    type = "S"
  }

  attribute {
    name = "createdAt"
    type = "N"
  }

  global_secondary_index {
    name            = "by-owner"
    hash_key        = "owner"
    range_key       = "createdAt"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "ttl"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled = true
  }

{% for replica in replicas %}
  replica {
    region_name                 = "{{ replica.region }}"
    point_in_time_recovery      = true
    deletion_protection_enabled = true
  }

{% endfor %}
  lifecycle {
    prevent_destroy = true
  }
}

locals {
  key_policy = jsonencode({{ key_policy }})
}

resource "aws_kms_key" "sessions" {
  description         = "Wraps the data keys of encrypted sessions"
  policy              = local.key_policy
  tags                = { purpose = "sessions_kms" }
  enable_key_rotation = true
  multi_region        = {{ store.multi_region|yesno:"true,false" }}

  lifecycle {
    prevent_destroy = true
  }
}

{% if store.audit %}
resource "aws_kms_key" "audit" {
  description              = "Signs checkpoints of the audit log"
  policy                   = jsonencode({{ audit_key_policy }})
  tags                     = { purpose = "sessions_kms" }
  customer_master_key_spec = "HMAC_256"
  key_usage                = "GENERATE_VERIFY_MAC"

  lifecycle {
    prevent_destroy = true
  }
}

{% endif %}
resource "aws_kms_alias" "sessions" {
  name          = var.key_alias
  target_key_id = aws_kms_key.sessions.key_id
}

{% for replica in replicas %}
resource "aws_kms_replica_key" "{{ replica.name }}" {
  region          = "{{ replica.region }}"
  primary_key_arn = aws_kms_key.sessions.arn
  description     = "Wraps the data keys of encrypted sessions"
  policy          = local.key_policy
  tags            = { purpose = "sessions_kms" }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "{{ replica.name }}" {
  region        = "{{ replica.region }}"
  name          = var.key_alias
  target_key_id = aws_kms_replica_key.{{ replica.name }}.key_id
}

{% endfor %}
{% for role in roles %}
resource "aws_iam_role" "{{ role.name }}" {
  name        = "${local.role_prefix}-{{ role.name }}"
  description = "${var.table_name}: {{ role.description }}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
{% if role.name == "web" %}
      Principal = { Service = var.web_service }
{% else %}
      Principal = { AWS = coalesce(var.operator_arn, local.account_root) }
{% endif %}
    }]
  })
}

resource "aws_iam_role_policy" "{{ role.name }}" {
  name   = "sessions"
  role   = aws_iam_role.{{ role.name }}.id
  policy = jsonencode({{ role.policy }})
}

{% endfor %}
output "table_name" {
  value = aws_dynamodb_table.sessions.name
}

output "key_arn" {
  value = aws_kms_key.sessions.arn
}
{% if store.audit %}

output "audit_key_arn" {
  value = aws_kms_key.audit.arn
}
{% endif %}
{% for role in roles %}

output "{{ role.name }}_role_arn" {
  value = aws_iam_role.{{ role.name }}.arn
}
{% endfor %}
{% for replica in replicas %}

output "key_arn_{{ replica.name }}" {
  value = aws_kms_replica_key.{{ replica.name }}.arn
}
{% endfor %}
