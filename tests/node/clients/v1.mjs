// The TypeScript SDK of 1.x: `v1.mjs WAY`.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { capabilities, elicited, headers, play, sampled, stdio, way, who } from "./story.mjs";

const client = new Client(who, { capabilities });
client.setRequestHandler(ElicitRequestSchema, async () => elicited);
client.setRequestHandler(CreateMessageRequestSchema, async () => sampled);
const http = way.url && new StreamableHTTPClientTransport(new URL(way.url), { requestInit: { headers } });
await client.connect(http || new StdioClientTransport(stdio));
await play(client);
