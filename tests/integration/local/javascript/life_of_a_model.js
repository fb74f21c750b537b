// A model's life with AWS's JavaScript SDK: upload, create, wait, deploy, ask. Its runtime client speaks HTTP/2.
// Prints what it saw as JSON.
import {
  BedrockClient,
  CreateCustomModelDeploymentCommand,
  CreateModelCustomizationJobCommand,
  GetCustomModelDeploymentCommand,
  GetModelCustomizationJobCommand,
} from "@aws-sdk/client-bedrock";
import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from "@aws-sdk/client-bedrock-runtime";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const { bucket, roleArn, data, question } = JSON.parse(process.argv[2]);
const bedrock = new BedrockClient();
const runtime = new BedrockRuntimeClient();
const s3 = new S3Client({ forcePathStyle: true });

async function until(wanted, get) {
  for (;;) {
    const found = await get();
    if (found.status === wanted) return found;
    if (!["InProgress", "Creating"].includes(found.status)) throw new Error(JSON.stringify(found));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "javascript/train.jsonl", Body: data }));
const { jobArn } = await bedrock.send(
  new CreateModelCustomizationJobCommand({
    jobName: "javascript",
    customModelName: "javascript",
    roleArn,
    baseModelIdentifier: "amazon.nova-micro-v1:0:128k",
    trainingDataConfig: { s3Uri: `s3://${bucket}/javascript/train.jsonl` },
    outputDataConfig: { s3Uri: `s3://${bucket}/out/` },
  }),
);
const job = await until("Completed", () => bedrock.send(new GetModelCustomizationJobCommand({ jobIdentifier: jobArn })));
const { customModelDeploymentArn: modelId } = await bedrock.send(
  new CreateCustomModelDeploymentCommand({ modelDeploymentName: "javascript", modelArn: job.outputModelArn }),
);
const named = { customModelDeploymentIdentifier: modelId };
await until("Active", () => bedrock.send(new GetCustomModelDeploymentCommand(named)));
const messages = [{ role: "user", content: [{ text: question }] }];
const answer = await runtime.send(new ConverseCommand({ modelId, messages }));
const { stream } = await runtime.send(new ConverseStreamCommand({ modelId, messages }));
const streamed = [];
for await (const event of stream) {
  if (event.contentBlockDelta) streamed.push(event.contentBlockDelta.delta.text);
}
console.log(
  JSON.stringify({
    handler: runtime.config.requestHandler.metadata?.handlerProtocol,
    answer: answer.output.message.content[0].text,
    streamed: streamed.join(""),
  }),
);
runtime.destroy();
bedrock.destroy();
s3.destroy();
