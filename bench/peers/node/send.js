// Node's @parse/node-apn as its README has it: one Provider, one notification, an array of device tokens.
// Speaks the protocol of bench/senders.py: a line "run SECONDS" in, a line of JSON out.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const readline = require('readline');
const apn = require('@parse/node-apn');

const CHUNK = 1000; // tokens in a call of send
const CALLS = 2; // calls under way at once: the next is being built while one is answered
const setup = JSON.parse(process.argv[2]);

// node-apn 8 does not hand `ca` on to http2.connect; the harness sets NODE_EXTRA_CA_CERTS.
const options = {
  token: { key: setup.key_file, keyId: setup.key_id, teamId: setup.team_id },
  address: setup.host,
  port: setup.port,
  production: true,
  requestTimeout: 120000,
};
const provider =
  setup.connections > 1
    ? new apn.MultiProvider({ ...options, clientCount: setup.connections })
    : new apn.Provider(options);
const tokens = Array.from({ length: setup.pool }, () => crypto.randomBytes(32).toString('hex'));
const payload = JSON.parse(setup.payload);

function notification() {
  const made = new apn.Notification();
  made.rawPayload = payload;
  made.topic = setup.topic;
  made.pushType = 'alert';
  made.priority = 10;
  return made;
}

async function run(seconds) {
  const until = performance.now() + seconds * 1000;
  let next = 0;
  let ok = 0;
  async function work() {
    while (performance.now() < until) {
      const at = next % setup.pool;
      const chunk = tokens.slice(at, at + CHUNK);
      next += chunk.length;
      const { sent, failed } = await provider.send(notification(), chunk);
      ok += sent.length;
      if (failed.length) process.stderr.write(`${JSON.stringify(failed[0])} ${failed[0].error}\n`);
    }
  }
  await Promise.all(Array.from({ length: CALLS }, work));
  return [next, ok];
}

async function main() {
  process.stdout.write('{"ready": true}\n');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const seconds = Number(line.split(' ')[1]);
    const started = process.hrtime.bigint();
    const before = process.cpuUsage();
    const [sent, ok] = await run(seconds);
    const wall = Number(process.hrtime.bigint() - started) / 1e9;
    const used = process.cpuUsage(before);
    const cpu = (used.user + used.system) / 1e6;
    process.stdout.write(`${JSON.stringify({ sent, ok, wall, cpu })}\n`);
  }
  await provider.shutdown();
}

main();
