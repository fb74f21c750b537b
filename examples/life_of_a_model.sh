#!/bin/sh
# The whole life of a custom model with the AWS CLI: upload, create, wait, deploy, ask, delete.
#
#     examples/life_of_a_model.sh train.jsonl 'The question to ask'
#
# It is the same on Local Bedrock (paste what `airflow-bedrock local` prints) and on AWS, where it costs money and takes
# hours: there, set AIRFLOW_VAR_BEDROCK_BUCKET and AIRFLOW_VAR_BEDROCK_ROLE_ARN to your bucket and service role.
# POLL is the number of seconds between two polls of a job or a deployment.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 TRAINING_FILE QUESTION" >&2
    exit 2
fi
training_file=$1
question=$2
bucket=${AIRFLOW_VAR_BEDROCK_BUCKET:?is not set: paste what airflow-bedrock local prints}
role=${AIRFLOW_VAR_BEDROCK_ROLE_ARN:?is not set: paste what airflow-bedrock local prints}
base_model=${BASE_MODEL:-amazon.nova-micro-v1:0:128k}
name=life-of-a-model-$(date -u +%Y%m%d-%H%M%S)
export AWS_PAGER=

request=$(mktemp)
model=
trap 'rm -f "$request"; [ -z "$model" ] || echo "Left, and billed until you delete it: $model" >&2' EXIT
trap 'exit 130' INT TERM

# wait_for STATUS COMMAND...: repeat a command that prints a status, until it prints that one.
wait_for() {
    wanted=$1
    shift
    while status=$("$@" --query status --output text) && [ "$status" != "$wanted" ]; do
        case $status in
            InProgress | Creating) sleep "${POLL:-60}" ;;
            *)
                echo "It is $status, not $wanted." >&2
                return 1
                ;;
        esac
    done
    [ "$status" = "$wanted" ]
}

echo "Upload $training_file"
aws s3 cp --only-show-errors "$training_file" "s3://$bucket/$name/train.jsonl"

echo "Create the job $name"
cat > "$request" <<EOF
{
  "jobName": "$name",
  "customModelName": "$name",
  "roleArn": "$role",
  "baseModelIdentifier": "$base_model",
  "trainingDataConfig": {"s3Uri": "s3://$bucket/$name/train.jsonl"},
  "outputDataConfig": {"s3Uri": "s3://$bucket/$name/out/"},
  "hyperParameters": {"epochCount": "2"}
}
EOF
job=$(aws bedrock create-model-customization-job --cli-input-json "file://$request" --query jobArn --output text)

echo "Wait for $job"
if ! wait_for Completed aws bedrock get-model-customization-job --job-identifier "$job"; then
    aws bedrock get-model-customization-job --job-identifier "$job" --query failureMessage --output text >&2
    exit 1
fi
model=$(aws bedrock get-model-customization-job --job-identifier "$job" --query outputModelArn --output text)
aws s3 ls --recursive "s3://$bucket/$name/out/"

echo "Deploy $model"
deployment=$(aws bedrock create-custom-model-deployment --model-deployment-name "$name" --model-arn "$model" \
    --query customModelDeploymentArn --output text)
wait_for Active aws bedrock get-custom-model-deployment --custom-model-deployment-identifier "$deployment"

echo "Ask it"
aws bedrock-runtime converse --model-id "$deployment" \
    --messages "$(printf '%s' "$question" | python3 -c \
        'import json, sys; print(json.dumps([{"role": "user", "content": [{"text": sys.stdin.read()}]}]))')" \
    --query 'output.message.content[0].text' --output text

echo "Delete the deployment and the model; the job stays, and its name is used up"
aws bedrock delete-custom-model-deployment --custom-model-deployment-identifier "$deployment"
aws bedrock delete-custom-model --model-identifier "$model"
model=
