# Managed Airflow with this package: a bucket for DAGs and one for data, the role that Airflow has, the role that Bedrock
# assumes, and the environment. docs/mwaa.md goes through it. The policies are read from deploy/policies/.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "name" {
  description = "The environment's name, and the prefix of the roles' names."
  type        = string
  default     = "airflow-bedrock"
}

variable "airflow_version" {
  type    = string
  default = "3.0.6"
}

variable "source_bucket" {
  description = "Name of the new bucket for DAGs, requirements.txt and plugins.zip."
  type        = string
}

variable "data_bucket" {
  description = "Name of the new bucket for training data and the output of jobs."
  type        = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  description = "Two private subnets in two availability zones, with a way to AWS (NAT gateway or VPC endpoints)."
  type        = list(string)
}

variable "create_environment" {
  description = "The environment needs requirements.txt and plugins.zip in the bucket, so it comes in a second step."
  type        = bool
  default     = false
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  values = {
    Partition    = data.aws_partition.current.partition
    Region       = data.aws_region.current.region
    Account      = data.aws_caller_identity.current.account_id
    Bucket       = var.data_bucket
    SourceBucket = var.source_bucket
    BedrockRole  = "${var.name}-bedrock"
    Environment  = var.name
  }
  policies = "${path.module}/../policies"
}

resource "aws_s3_bucket" "source" {
  bucket = var.source_bucket
}

resource "aws_s3_bucket_versioning" "source" {
  bucket = aws_s3_bucket.source.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket" "data" {
  bucket = var.data_bucket
}

resource "aws_s3_bucket_public_access_block" "all" {
  for_each                = { source = aws_s3_bucket.source.id, data = aws_s3_bucket.data.id }
  bucket                  = each.value
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_iam_role" "bedrock" {
  name               = "${var.name}-bedrock"
  assume_role_policy = templatefile("${local.policies}/bedrock-role-trust.json", local.values)
}

resource "aws_iam_role_policy" "data" {
  name   = "data"
  role   = aws_iam_role.bedrock.id
  policy = templatefile("${local.policies}/bedrock-role.json", local.values)
}

resource "aws_iam_role" "airflow" {
  name               = "${var.name}-airflow"
  assume_role_policy = templatefile("${local.policies}/mwaa-role-trust.json", local.values)
}

resource "aws_iam_role_policy" "airflow" {
  for_each = { managed-airflow = "mwaa-role.json", bedrock = "airflow.json" }
  name     = each.key
  role     = aws_iam_role.airflow.id
  policy   = templatefile("${local.policies}/${each.value}", local.values)
}

resource "aws_security_group" "airflow" {
  name_prefix = var.name
  description = "The components of managed Airflow talk to each other"
  vpc_id      = var.vpc_id

  ingress {
    protocol  = "-1"
    from_port = 0
    to_port   = 0
    self      = true
  }

  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_mwaa_environment" "airflow" {
  count                 = var.create_environment ? 1 : 0
  name                  = var.name
  airflow_version       = var.airflow_version
  environment_class     = "mw1.small"
  source_bucket_arn     = aws_s3_bucket.source.arn
  dag_s3_path           = "dags"
  requirements_s3_path  = "requirements.txt"
  plugins_s3_path       = "plugins.zip"
  execution_role_arn    = aws_iam_role.airflow.arn
  webserver_access_mode = "PUBLIC_ONLY"

  network_configuration {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.airflow.id]
  }

  # Identifies this deployment of Airflow in the account; the address of the UI would change.
  airflow_configuration_options = { "bedrock.environment" = var.name }

  logging_configuration {
    task_logs {
      enabled   = true
      log_level = "INFO"
    }
    scheduler_logs {
      enabled   = true
      log_level = "WARNING"
    }
    worker_logs {
      enabled   = true
      log_level = "WARNING"
    }
    dag_processing_logs {
      enabled   = true
      log_level = "WARNING"
    }
    webserver_logs {
      enabled   = true
      log_level = "WARNING"
    }
  }

  depends_on = [
    aws_iam_role_policy.airflow,
    aws_s3_bucket_versioning.source,
    aws_s3_bucket_public_access_block.all,
  ]
}

output "bedrock_role_arn" {
  description = "The value of the Airflow variable bedrock_role_arn"
  value       = aws_iam_role.bedrock.arn
}
