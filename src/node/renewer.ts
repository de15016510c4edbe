/**
 * Keeps the node's certificate valid: one loop per life in a swarm.
 *
 * Renews at a random moment between 50 and 80 % of the certificate's time, at once when the cluster gave the node another
 * role, and without a client certificate when the present one has run out. The old certificate serves until the new one
 * is on disk.
 */
import { Alarm } from "../common/clock/alarm.ts";
import type { Clock } from "../common/clock/clock.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { isRemoval } from "../common/errors/removal.ts";
import { identityOf, parseCertificate } from "../common/identity/certificate.ts";
import { createKey } from "../common/identity/key.ts";
import { renewalMomentMs, renewalRetryMs } from "../common/identity/renewal.ts";
import type { Identity, TlsMaterial } from "../common/identity/types.ts";
import type { Log } from "../common/log/log.ts";
import type { Random } from "../common/random/random.ts";
import { type ReceivedIdentity, renew, renewExpired } from "../common/rpc/ca-client.ts";
import { dial } from "../common/rpc/client.ts";

/** What the renewer works on. */
export interface RenewerPorts {
  present(): TlsMaterial;
  /** Addresses of managers, the one to try first first. */
  managers(): readonly string[];
  /** Takes the new certificate into use; it is on disk when this resolves. */
  renewed(received: ReceivedIdentity): Promise<void>;
  /** Issues one from this manager's own tables, when nobody else can; undefined on a worker. */
  selfIssue(): TlsMaterial | undefined;
  /** The node was removed from the cluster: there is nothing to renew any more. */
  removed(error: ClusterError): void;
}

/** What one certificate is asked for with. */
export interface CaCall {
  readonly address: string;
  readonly present: TlsMaterial;
  /** PKCS#8 PEM of the next key. */
  readonly key: string;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

/** How certificates are asked for: over the network, outside tests. */
export interface CaCalls {
  renew(call: CaCall): Promise<ReceivedIdentity>;
  renewExpired(call: CaCall): Promise<ReceivedIdentity>;
}

/** Longest wait between attempts once the certificate has run out, milliseconds. */
const expiredRetryMsMax = 5000;
/** Longest pause between two looks at the clock, which may jump, milliseconds. */
const lookIntervalMs = 30_000;

/** The loop. */
export class Renewer {
  readonly #ports: RenewerPorts;
  readonly #tools: { readonly clock: Clock; readonly random: Random; readonly log: Log };
  readonly #ca: CaCalls;
  readonly #alarm: Alarm;
  #isWanted = false;

  constructor(
    ports: RenewerPorts,
    tools: { readonly clock: Clock; readonly random: Random; readonly log: Log },
    ca: CaCalls = { renew: renewAt, renewExpired },
  ) {
    this.#ports = ports;
    this.#tools = tools;
    this.#ca = ca;
    this.#alarm = new Alarm(tools.clock);
  }

  /** Renew at once, also in the pause after a failure. */
  now(): void {
    this.#isWanted = true;
    this.#alarm.ring();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { random, log } = this.#tools;
    let failures = 0;
    let key: string | undefined;
    let dueMs = renewalMomentMs(this.#identity(), random);
    while (!signal.aborted) {
      const isValid = isValidAt(this.#identity(), this.#tools.clock.now());
      if (!this.#isWanted && isValid && this.#tools.clock.now() < dueMs) {
        const leftMs = Math.max(1, dueMs - this.#tools.clock.now());
        await this.#alarm.pause(Math.min(lookIntervalMs, leftMs), signal);
        continue;
      }
      this.#isWanted = false;
      // One key for all attempts: the cluster remembers the last two keys of a node only.
      key ??= await createKey();
      try {
        await this.#renew(key, failures, signal);
        key = undefined;
        failures = 0;
        dueMs = renewalMomentMs(this.#identity(), random);
      } catch (error) {
        if (signal.aborted) return;
        if (isRemoval(error)) {
          this.#ports.removed(error);
          return;
        }
        failures += 1;
        this.#isWanted = true;
        log.warn("certificate not renewed", { err: errorText(error), attempt: failures });
        await this.#alarm.pause(this.#retryMs(failures), signal);
      }
    }
  }

  /** Without a valid certificate the node is cut off, so it asks often; with one there is time. */
  #retryMs(failures: number): number {
    const ms = renewalRetryMs(failures, this.#tools.random);
    const isExpired = this.#tools.clock.now() > this.#identity().notAfterMs;
    return isExpired ? Math.min(ms, expiredRetryMsMax) : ms;
  }

  async #renew(key: string, attempt: number, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    const present = this.#ports.present();
    const managers = this.#ports.managers();
    const address = managers[attempt % Math.max(1, managers.length)];
    const nowMs = clock.now();
    const isInvalid = !isValidAt(this.#identity(), nowMs);
    let received: ReceivedIdentity;
    try {
      if (address === undefined) throw new ClusterError("unavailable", "no manager is known");
      const call = { address, present, key, nowMs, signal };
      received = await (isInvalid ? this.#ca.renewExpired(call) : this.#ca.renew(call));
    } catch (error) {
      // A removed manager has the key of the CA, too: it must not come back with it.
      if (isRemoval(error)) throw error;
      // A manager without a quorum still has the key of the CA; without a valid certificate there would never be one.
      const own = isInvalid && !signal.aborted ? this.#ports.selfIssue() : undefined;
      if (own === undefined) throw error;
      received = { tls: own, identity: identityOf(parseCertificate(own.certificate)) };
    }
    await this.#ports.renewed(received);
    log.info("certificate renewed", {
      role: received.identity.role,
      until: new Date(received.identity.notAfterMs).toISOString(),
    });
  }

  #identity(): Identity {
    return identityOf(parseCertificate(this.#ports.present().certificate));
  }
}

/** Whether the certificate counts now; one that was issued while the clock was ahead does not yet. */
export function isValidAt(identity: Identity, nowMs: number): boolean {
  return identity.notBeforeMs <= nowMs && nowMs <= identity.notAfterMs;
}

async function renewAt({ address, ...call }: CaCall): Promise<ReceivedIdentity> {
  const { clusterId } = identityOf(parseCertificate(call.present.certificate));
  const client = dial({ address, tls: call.present, expected: { role: "manager", clusterId } });
  try {
    return await renew({ client, ...call });
  } finally {
    client.close();
  }
}
