# docs/operations.md lists the alarms and what to do. Those on a log line read LOG_FORMAT=json. Lines
# may quote users and servers (INFO, most of all), so each pattern names where its words must be.

locals {
  actions     = var.alarm_topic == null ? [] : [var.alarm_topic]
  metric_area = "Gateway/${var.table_name}"

  # How many lines in five minutes are too many: none is allowed unless `above` says otherwise.
  log_alarms = {
    kms_key = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"AWS refused to use the KMS key*\") }"
      description = "The KMS key is disabled, pending deletion, or its policy changed: docs/operations.md, Key disabled"
      above       = 0
    }
    data_key = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"The published data key of period*\") }"
      description = "A data-key item was overwritten, or a key was switched too early: docs/operations.md, Damaged data key"
      above       = 0
    }
    not_before = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"The not-before item*\") }"
      description = "A clock was wrong, or somebody wrote to a not-before item: docs/operations.md, Not-before in the future"
      above       = 0
    }
    clock = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"This machine's clock is*\") }"
      description = "A task's clock is wrong: docs/operations.md, The clock"
      above       = 0
    }
    doubtful_answers = {
      pattern     = "{ ($.level != \"INFO\") && (($.message = \"A record is of a time that is yet to come*\") || ($.message = \"KMS unwrapped one data key to different bytes*\") || ($.message = \"DynamoDB gave a response to another request*\")) }"
      description = "Something between the gateway and AWS garbles answers, or somebody writes to the table: run check_session_store"
      above       = 0
    }
    circuit = {
      pattern     = "{ ($.level != \"INFO\") && (($.event = \"circuit\") && ($.message = \"*times in a row*\")) }"
      description = "DynamoDB or KMS hangs: docs/operations.md, A service that hangs"
      above       = 0
    }
    table = {
      pattern     = "{ ($.level != \"INFO\") && (($.event = \"session_store\") && ($.message = \"*The session table cannot be used:*\")) }"
      description = "DynamoDB does not answer, throttles or rejects the gateway: docs/operations.md, Throttled table"
      above       = 0
    }
    kms = {
      pattern     = "{ ($.level != \"INFO\") && (($.event = \"session_store\") && ($.message = \"*AWS KMS cannot be used:*\")) }"
      description = "AWS KMS does not answer, or rejects the gateway, and no data key is cached: docs/operations.md, KMS outage"
      above       = 0
    }
    database = {
      pattern     = "{ ($.level != \"INFO\") && (($.event = \"database\") && ($.message = \"*The database cannot be used:*\")) }"
      description = "The SQL database is down, hangs or is out of connections: docs/operations.md, Database outage"
      above       = 0
    }
    secret_key = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"A session is answered as signed out: its hash was made with a SECRET_KEY*\") }"
      description = "A task lacks a key that others use: docs/operations.md, DJANGO_SECRET_KEY"
      above       = 0
    }
    descriptors = {
      pattern     = "{ ($.level != \"INFO\") && (($.message = \"Cannot accept connections*\") || ($.message = \"Request to * not sent: no file descriptor was left.*\") || (($.event = \"database\") && ($.message = \"*no file descriptor was left.*\"))) }"
      description = "The limit of descriptors is too low, or something leaks them"
      above       = 0
    }
    bodies = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"Requests ended because all bodies together took too much memory*\") }"
      description = "Somebody sends many large bodies slowly"
      above       = 0
    }
    upstream = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"Upstream * failed: *\") }"
      description = "An upstream is down, or the way to it; nobody is notified: docs/operations.md, Upstream down"
      above       = 20
    }
    sign_in = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"Sign-in with * did not work*\") }"
      description = "Many sign-ins fail: docs/providers.md, When sign-in does not work"
      above       = 20
    }
    rejected = {
      pattern     = "{ ($.level != \"INFO\") && ((($.event = \"limit\") && ($.message = \"*calls were answered 503: their person had too many open*\")) || (($.event = \"upstream\") && ($.message = \"*calls were answered 503: no connection to the upstream was free*\"))) }"
      description = "Persons or upstreams are at their limit of open calls"
      above       = 5
    }
    audit_events = {
      pattern     = "{ ($.level != \"INFO\") && (($.message = \"The audit log cannot be written*\") || (($.event = \"audit\") && ($.message = \"*events are missing from the audit log*\"))) }"
      description = "The audit log rejects calls, or lacks events: docs/audit.md, If it cannot be written"
      above       = 0
    }
    audit_checkpoint = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"The audit log has no new checkpoint*\") }"
      description = "KMS or the table does not take the audit log's checkpoints: docs/audit.md, Chains and checkpoints"
      above       = 5
    }
    reload = {
      pattern     = "{ ($.level != \"INFO\") && (($.message = \"*The rules in force stay as they are.\") || ($.message = \"The workers are not replaced*\")) }"
      description = "A file of rules or a variable has a fault, so SIGHUP changed nothing: docs/policy.md, Rules"
      above       = 0
    }
    tools = {
      pattern     = "{ ($.level != \"INFO\") && ($.message = \"A tool of * is not as pinned*\") }"
      description = "A server changed a tool, which is now hidden: docs/policy.md, Pinned tools"
      above       = 0
    }
    # Not the load balancer's count, which has upstreams' own errors.
    own_errors = {
      pattern     = "{ ($.event = \"request\") && ($.status >= 500) && ($.status != 502) && ($.status != 504) && (($.upstream_status NOT EXISTS) || ($.upstream_status < 400)) }"
      description = "The gateway itself answers 5xx"
      above       = 50
    }
  }

  aws_alarms = {
    balancer_errors = {
      namespace   = "AWS/ApplicationELB"
      metric      = "HTTPCode_ELB_5XX_Count"
      dimensions  = local.balancer
      statistic   = "Sum"
      above       = 10
      minutes     = 5
      description = "The load balancer answers 5xx itself: tasks are gone or too slow"
    }
    unhealthy_targets = {
      namespace   = "AWS/ApplicationELB"
      metric      = "UnHealthyHostCount"
      dimensions  = merge(local.balancer, { TargetGroup = aws_lb_target_group.gateway.arn_suffix })
      statistic   = "Maximum"
      above       = 0
      minutes     = 5
      description = "A task is not ready"
    }
    table_read_throttles = {
      namespace   = "AWS/DynamoDB"
      metric      = "ReadThrottleEvents"
      dimensions  = local.table
      statistic   = "Sum"
      above       = 0
      minutes     = 2
      description = "The table is throttled: docs/operations.md, Throttled table"
    }
    table_write_throttles = {
      namespace   = "AWS/DynamoDB"
      metric      = "WriteThrottleEvents"
      dimensions  = local.table
      statistic   = "Sum"
      above       = 0
      minutes     = 2
      description = "The table is throttled: docs/operations.md, Throttled table"
    }
    table_get_errors = {
      namespace   = "AWS/DynamoDB"
      metric      = "SystemErrors"
      dimensions  = merge(local.table, { Operation = "GetItem" })
      statistic   = "Sum"
      above       = 0
      minutes     = 2
      description = "DynamoDB fails at GetItem: AWS Health"
    }
    table_put_errors = {
      namespace   = "AWS/DynamoDB"
      metric      = "SystemErrors"
      dimensions  = merge(local.table, { Operation = "PutItem" })
      statistic   = "Sum"
      above       = 0
      minutes     = 2
      description = "DynamoDB fails at PutItem: AWS Health"
    }
  }

  balancer = { LoadBalancer = aws_lb.gateway.arn_suffix }
  table    = { TableName = module.sessions.table_name }
}

resource "aws_cloudwatch_log_metric_filter" "lines" {
  for_each = local.log_alarms

  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.gateway.name
  pattern        = each.value.pattern

  metric_transformation {
    name          = each.key
    namespace     = local.metric_area
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "lines" {
  for_each = local.log_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = local.metric_area
  metric_name         = each.key
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = each.value.above == 0 ? 1 : 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = each.key == "upstream" ? [] : local.actions
  ok_actions          = each.key == "upstream" ? [] : local.actions
}

resource "aws_cloudwatch_metric_alarm" "aws" {
  for_each = local.aws_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.minutes
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.actions
  ok_actions          = local.actions
}

# EventBridge may not publish without it. It replaces the topic's default policy, which it repeats: the
# account's own permissions decide. (EventBridge does not support conditions here.)
resource "aws_sns_topic_policy" "alarms" {
  count = var.alarm_topic == null ? 0 : 1

  arn = var.alarm_topic
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}:root" }
        Action    = ["sns:Publish", "sns:Subscribe", "sns:GetTopicAttributes", "sns:SetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:AddPermission", "sns:RemovePermission", "sns:DeleteTopic"]
        Resource  = var.alarm_topic
      },
      {
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = var.alarm_topic
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
      },
      {
        Sid       = "KeyChanges"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = var.alarm_topic
      },
    ]
  })
}

# Needs a trail of CloudTrail in this Region.
resource "aws_cloudwatch_event_rule" "key_changes" {
  count = var.alarm_topic == null ? 0 : 1

  name        = "${var.name}-key-changes"
  description = "Somebody disabled the sessions' KMS key, scheduled its deletion or changed its policy"
  event_pattern = jsonencode({
    source        = ["aws.kms"]
    "detail-type" = ["AWS API Call via CloudTrail"]
    detail = {
      eventName = ["DisableKey", "ScheduleKeyDeletion", "PutKeyPolicy"]
      resources = { ARN = [module.sessions.key_arn] }
    }
  })
}

resource "aws_cloudwatch_event_target" "key_changes" {
  count = var.alarm_topic == null ? 0 : 1

  rule = aws_cloudwatch_event_rule.key_changes[0].name
  arn  = var.alarm_topic
}

resource "aws_cloudwatch_dashboard" "gateway" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      {
        type = "metric", width = 12, height = 6, x = 0, y = 0
        properties = {
          title = "Requests", region = data.aws_region.here.region, stat = "Sum", period = 60
          metrics = [
            ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", aws_lb.gateway.arn_suffix],
            [".", "HTTPCode_Target_5XX_Count", ".", "."],
            [".", "HTTPCode_ELB_5XX_Count", ".", "."],
          ]
        }
      },
      {
        type = "metric", width = 12, height = 6, x = 12, y = 0
        properties = {
          title = "Seconds until an answer", region = data.aws_region.here.region, period = 60
          metrics = [
            ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", aws_lb.gateway.arn_suffix, { stat = "p50" }],
            ["...", { stat = "p99" }],
          ]
        }
      },
      {
        type = "metric", width = 12, height = 6, x = 0, y = 6
        properties = {
          title = "Session table", region = data.aws_region.here.region, stat = "Sum", period = 60
          metrics = [
            ["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", module.sessions.table_name],
            [".", "ConsumedWriteCapacityUnits", ".", "."],
            [".", "ReadThrottleEvents", ".", "."],
            [".", "WriteThrottleEvents", ".", "."],
          ]
        }
      },
      {
        type = "metric", width = 12, height = 6, x = 12, y = 6
        properties = {
          title = "Tasks: CPU and memory, %", region = data.aws_region.here.region, stat = "Maximum", period = 60
          metrics = [
            ["AWS/ECS", "CPUUtilization", "ClusterName", aws_ecs_cluster.gateway.name, "ServiceName", aws_ecs_service.gateway.name],
            [".", "MemoryUtilization", ".", ".", ".", "."],
          ]
        }
      },
      {
        type = "log", width = 24, height = 6, x = 0, y = 12
        properties = {
          title = "Warnings and errors", region = data.aws_region.here.region, view = "table"
          query = "SOURCE '${aws_cloudwatch_log_group.gateway.name}' | fields @timestamp, level, event, message | filter level in ['WARNING', 'ERROR', 'CRITICAL'] | sort @timestamp desc | limit 50"
        }
      },
    ]
  })
}
