// The TypeScript SDK of 2.x: `v2.mjs WAY MODE`, where MODE is `legacy`, its default, or `auto`.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { capabilities, elicited, headers, play, sampled, stdio, way, who } from "./story.mjs";

const client = new Client(who, { capabilities, versionNegotiation: { mode: process.argv[3] } });
client.setRequestHandler("elicitation/create", async () => elicited);
client.setRequestHandler("sampling/createMessage", async () => sampled);
const http = way.url && new StreamableHTTPClientTransport(new URL(way.url), { requestInit: { headers } });
await client.connect(http || new StdioClientTransport(stdio));
await play(client);
