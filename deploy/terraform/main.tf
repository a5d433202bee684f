# The gateway on ECS Fargate behind an Application Load Balancer, with its session store. The store
# is the module in `sessions`, whose main.tf is the output of
#     kms-gateway session_store_template --format terraform
# docs/deployment.md has the commands.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.9" }
  }
}

data "aws_partition" "here" {}

data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

data "aws_vpc" "here" {
  id = var.vpc_id
}

module "sessions" {
  source = "./sessions"

  table_name  = var.table_name
  namespace   = var.namespace
  key_alias   = "alias/${var.table_name}"
  web_service = "ecs-tasks.amazonaws.com"
}

# --- Network ---

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "The load balancer: visitors by HTTP and HTTPS"
  vpc_id      = var.vpc_id

  ingress {
    description = "HTTPS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }

  ingress {
    description = "Redirected to HTTPS"
    protocol    = "tcp"
    from_port   = 80
    to_port     = 80
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    description = "The gateway"
    protocol    = "tcp"
    from_port   = 8000
    to_port     = 8000
    cidr_blocks = [data.aws_vpc.here.cidr_block]
  }
}

resource "aws_security_group" "gateway" {
  name        = "${var.name}-tasks"
  description = "The gateway: requests only from the load balancer"
  vpc_id      = var.vpc_id

  ingress {
    description     = "The load balancer"
    protocol        = "tcp"
    from_port       = 8000
    to_port         = 8000
    security_groups = [aws_security_group.balancer.id]
  }

  egress {
    description = "Providers, upstreams, AWS and the database"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# Everything in these subnets reaches DynamoDB and KMS through the endpoints, other programs too. So
# their policies exclude other accounts only; what the gateway may do is for the role of the store.
resource "aws_vpc_endpoint" "dynamodb" {
  count = var.create_endpoints ? 1 : 0

  vpc_id            = var.vpc_id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.here.region}.dynamodb"
  route_table_ids   = var.private_route_tables
  policy            = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OwnAccount"
      Effect    = "Allow"
      Principal = "*"
      Action    = "dynamodb:*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_vpc_endpoint" "kms" {
  count = var.create_endpoints ? 1 : 0

  vpc_id              = var.vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.here.region}.kms"
  private_dns_enabled = true
  subnet_ids          = var.private_subnets
  security_group_ids  = [aws_security_group.endpoint[0].id]
  policy              = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OwnAccount"
      Effect    = "Allow"
      Principal = "*"
      Action    = "kms:*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_security_group" "endpoint" {
  count = var.create_endpoints ? 1 : 0

  name        = "${var.name}-kms-endpoint"
  description = "The endpoint of KMS"
  vpc_id      = var.vpc_id

  ingress {
    description = "The VPC"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = [data.aws_vpc.here.cidr_block]
  }
}

# --- Load balancer ---

resource "aws_lb" "gateway" {
  name                       = var.name
  load_balancer_type         = "application"
  subnets                    = var.public_subnets
  security_groups            = [aws_security_group.balancer.id]
  idle_timeout               = 60 # the gateway keeps connections for 75 s
  desync_mitigation_mode     = "strictest"
  drop_invalid_header_fields = true
  enable_deletion_protection = true
}

resource "aws_lb_target_group" "gateway" {
  name                 = var.name
  vpc_id               = var.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = 8000
  deregistration_delay = 30

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.gateway.arn
  protocol          = "HTTPS"
  port              = 443
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.gateway.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

# --- Roles: the gateway's own is the web role of the store ---

resource "aws_iam_role" "execution" {
  name        = "${var.name}-execution"
  description = "ECS starts the tasks with it; the gateway does not have it"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Registry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*" # It names no resource.
      },
      {
        Sid      = "Image"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
        Resource = "arn:${data.aws_partition.here.partition}:ecr:${data.aws_region.here.region}:${data.aws_caller_identity.here.account_id}:repository/*"
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.gateway.arn}:*"
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = values(var.secrets)
      },
    ]
  })
}

# --- Service ---

resource "aws_cloudwatch_log_group" "gateway" {
  name              = "/gateway/${var.name}"
  retention_in_days = var.log_days

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecs_cluster" "gateway" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

locals {
  environment = merge(var.environment, {
    PUBLIC_URL          = "https://${var.public_name}"
    TRUSTED_PROXIES     = data.aws_vpc.here.cidr_block
    PROXY_SCHEME_HEADER = "X-Forwarded-Proto"
    DRAIN_SECONDS       = "15" # two failed checks of the target, and a margin
    LOG_FORMAT          = "json"
    AWS_REGION          = data.aws_region.here.region
    KMS_KEY_ARN         = module.sessions.key_arn
    SESSIONS_TABLE      = module.sessions.table_name
    SESSIONS_NAMESPACE  = var.namespace
  })

  container = {
    name                   = "gateway"
    image                  = var.image
    essential              = true
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp" }]
    linuxParameters        = { capabilities = { drop = ["ALL"] } }
    environment            = [for name, value in local.environment : { name = name, value = value }]
    secrets                = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
  }

  log_options = {
    "awslogs-group"   = aws_cloudwatch_log_group.gateway.name
    "awslogs-region"  = data.aws_region.here.region
    "mode"            = "non-blocking"
    "max-buffer-size" = "25m"
  }
}

resource "aws_ecs_task_definition" "serve" {
  family                   = "${var.name}-serve"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = module.sessions.web_role_arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([merge(local.container, {
    command      = ["serve", "--host", "0.0.0.0", "--port", "8000"]
    portMappings = [{ containerPort = 8000 }]
    ulimits      = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    stopTimeout  = 45 # 15 s of draining, 25 s for what is open, and a margin; SIGKILL follows
    healthCheck = {
      command     = ["CMD", "python", "-m", "gateway_site.probe"]
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 30
    }
    logConfiguration = {
      logDriver = "awslogs"
      options   = merge(local.log_options, { "awslogs-stream-prefix" = "serve" })
    }
  })])
}

# Run it before each deployment with `aws ecs run-task`. It has no role: it uses SQL only.
resource "aws_ecs_task_definition" "migrate" {
  family                   = "${var.name}-migrate"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([merge(local.container, {
    image   = coalesce(var.migration_image, var.image)
    command = ["migrate", "--no-input"]
    logConfiguration = {
      logDriver = "awslogs"
      options   = merge(local.log_options, { "awslogs-stream-prefix" = "migrate" })
    }
  })])
}

resource "aws_ecs_service" "gateway" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.gateway.id
  launch_type                        = "FARGATE"
  task_definition                    = aws_ecs_task_definition.serve.arn
  desired_count                      = var.tasks
  health_check_grace_period_seconds  = 60
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets         = var.private_subnets
    security_groups = [aws_security_group.gateway.id]
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.gateway.arn
    container_name   = "gateway"
    container_port   = 8000
  }

  depends_on = [aws_lb_listener.https]
}

output "load_balancer_name" {
  value       = aws_lb.gateway.dns_name
  description = "Point the DNS record of public_name here"
}

output "cluster" {
  value = aws_ecs_cluster.gateway.name
}

output "service" {
  value = aws_ecs_service.gateway.name
}

output "migration_task" {
  value = aws_ecs_task_definition.migrate.arn
}

output "gateway_security_group" {
  value       = aws_security_group.gateway.id
  description = "Let it reach the database, and run the migration task in it"
}
