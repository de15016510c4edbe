/**
 * Every limit of the system in one place, each with its unit and its reason. Times are milliseconds, sizes bytes.
 */

const kib = 1024;
const mib = 1024 * kib;

/** One transaction holds at most this many changes, as in Docker's swarm; larger jobs use `batch`. */
export const transactionChangesMax = 200;
/** One Raft proposal; larger ones delay heartbeats on slow links. */
export const proposalBytesMax = 1.5 * mib;
/** Proposals that wait for commitment; beyond it writers are pushed back, so memory stays bounded. */
export const proposalsWaitingBytesMax = 64 * mib;
/** One Raft tick; everything of Raft's time is counted in them. */
export const raftTickMs = 50;
/** A leader's heartbeat: ten a second, so that losing a few does not start an election. */
export const raftHeartbeatTicks = 2;
/** Silence before an election, drawn from one to two times this: 0.75 to 1.5 s, so writes go on within 2 s. */
export const raftElectionTicks = 15;
/** The slow-disk profile stretches the tick by this, for media whose sync takes tens of milliseconds. */
export const raftSlowDiskFactor = 5;
/** Entries in one append message: small enough not to hold up heartbeats on a slow link. */
export const raftAppendBytesMax = 512 * kib;
/** Append messages in flight to one peer: 32 MiB at most, which fills a link with a long way round. */
export const raftInflightMax = 64;
/** Entries kept behind the checkpoint, so that a peer that was away shortly needs no snapshot. */
export const raftTailEntries = 2_000;
/** Bytes of entries kept behind the checkpoint: they are held in memory. */
export const raftTailBytesMax = 32 * mib;
/** Fewest entries that are worth a deletion in the log: spares small disks. */
export const raftCompactEntriesMin = 500;
/** One record of the log; larger batches are split, so that no single value gets out of hand. */
export const raftRecordBytesMax = 1 * mib;
/** One file of the log: at 30 MB/s a new one every 300 ms, and a small cluster never holds more than two. */
export const raftSegmentBytesMax = 8 * mib;
/** The floor file is at most this old; what a database loses within it only the leader can notice. */
export const raftFloorPeriodMs = 1_000;
/** A Raft thread that was told to stop and has answered, or has failed, ends by itself within this, or is ended. */
export const raftWorkerExitMs = 3_000;
/** Pause between attempts to write when the device is full. */
export const diskFullRetryMs = 1_000;
/** A lone manager with less room than this takes no writes: one that found the disk full half-way would have no answer. */
export const diskReserveBytes = 4 * mib;
/** How often the room is looked at. */
export const diskLookMs = 500;
/** Committed entries handed to the main thread and not yet applied by it. */
export const committedBytesMax = 16 * mib;
/** Committed entries in one hand-over: bounds how long the main thread applies in one go. */
export const committedBatchBytesMax = 1 * mib;
/** Messages waiting for one peer; beyond it they are dropped, as Raft allows. */
export const peerQueueBytesMax = 64 * mib;
/** Messages put into one frame: the receiver handles a frame in one go. */
export const peerFrameBytesMax = 1 * mib;
/** What a peer may have under way on one connection before the receiver has taken it: a fast link with a long way round. */
export const peerWindowBytes = 4 * mib;
/** One frame on the wire: the largest proposal fits several times. */
export const peerMessageBytesMax = 16 * mib;
/** How often the dialling end of a connection between peers asks for a sign of life; without one until the next it is lost. */
export const peerProbeMs = 3_000;
/** How long a peer that is refused has to read why. */
export const peerLingerMs = 1_000;
/** Pause before a lost peer is dialled again; doubles up to `peerDialPauseMaxMs`. */
export const peerDialPauseMs = 100;
/** Longest such pause: a peer that is back is found within 2 s. */
export const peerDialPauseMaxMs = 2_000;
/** A learner this close to the leader may become a voter. */
export const learnerLagMax = 1_000;
/** Removed members remembered, so that they can be told; older ones are merely unknown. */
export const removedMembersMax = 1_000;
/** A change of members is given up after this and two election times, as in Docker's swarm. */
export const membershipTimeoutMs = 5_000;
/** How long a read waits for a leader to confirm it. */
export const readIndexTimeoutMs = 5_000;
/** Without a leader for this long, managers that lost their logs say what a person has to do. */
export const standstillMs = 15_000;
/** A leader whose main thread has not answered for this long hands leadership over. */
export const mainThreadSilenceMs = 5_000;
/** A snapshot transfer without any progress for this long has failed; there is no limit on the whole. */
export const snapshotStallMs = 30_000;
/** A client must have said by then which server it wants. */
export const clientHelloTimeoutMs = 10_000;
/** Largest ClientHello looked at; browsers' and grpc's are below 2 KiB. */
export const clientHelloBytesMax = 16 * kib;
/** Connections that have not said anything yet. */
export const silentConnectionsMax = 1_024;
/** What a node says of itself: 200 of them fit into one message of reports, 64 into one transaction. */
export const nodeDescriptionBytesMax = 16 * kib;
/** ... of which names of its volumes. */
export const nodeVolumesBytesMax = 8 * kib;
/** One RPC message; as Docker's swarm, so that no list may ride in one message unbounded. */
export const rpcMessageBytesMax = 4 * mib;
/** One HTTP request body of the Engine API other than streams: a config is at most 1 MB, in base64. */
export const httpBodyBytesMax = 4 * mib;
/** Longest an API request waits for the cluster, as Docker's daemon. */
export const apiRequestTimeoutMs = 20_000;
/** Longest an init may take before it is undone: Docker's has no limit, and an overloaded machine takes minutes. */
export const initTimeoutMs = 180_000;
/** Secret data: Docker takes 1 to 511,999 bytes. */
export const secretBytesMax = 511_999;
/** Config data: Docker takes 1 to 1,023,999 bytes. */
export const configBytesMax = 1_023_999;
/** Highest node number: 16 bits less the two ends, as addresses are cut from /16 pools. */
export const nodeNumberMax = 65_534;
/** A freed node number rests this long, so that stale neighbours of the old node have gone. */
export const nodeNumberRestMs = 24 * 60 * 60 * 1000;
/** A P-256 certificate request is about 250 bytes; larger ones are refused before parsing. */
export const certificateRequestBytesMax = 4 * kib;
/** A node certificate is about 600 bytes, a foreign root may be larger. */
export const certificateBytesMax = 16 * kib;
/** A chain or a bundle of roots: a handful of certificates at most. */
export const certificateBundleBytesMax = 64 * kib;
/** Certificates between a node's and the root; one while a root rotation runs. */
export const certificateChainMax = 4;
/** Longest a client may take from connecting to the end of its TLS handshake, or to its relay header. */
export const rpcHandshakeTimeoutMs = 10_000;
/** Calls at once on one connection: a manager forwards many, an agent has a handful. */
export const rpcStreamsMax = 1_000;
/** Connections of one manager: 10,000 agents, with room for their reconnects. */
export const rpcConnectionsMax = 20_000;
/** A silent connection is probed this often; a dead peer is noticed within this and the timeout. */
export const rpcKeepaliveMs = 10_000;
/** How long the answer to a probe may take. */
export const rpcKeepaliveTimeoutMs = 10_000;
/** A connection on which nobody called is closed after this. */
export const rpcIdleMs = 5 * 60_000;
/** Deadline of a unary call that names none. */
export const rpcDeadlineMs = 10_000;
/** Longest a unary handler may run, whatever the caller's deadline. */
export const rpcHandlerMsMax = 60_000;
/** First wait before a lost connection is dialled again, and the longest. */
export const rpcReconnectMsMin = 100;
/** Longest wait before a lost connection is dialled again. */
export const rpcReconnectMsMax = 5_000;
/** How long a manager's kernel may take to answer a connection: TCP repeats one that was lost after a second. */
export const rpcProbeMs = 1_500;
/** A piece of a direct stream: with TLS around it, it fits into the 1,024 bytes Node has for what a connection sends. */
export const directPieceBytesMax = 1_000;
/** What waits to be sent on a direct stream until its sender has to wait; more than that goes in pieces of this size. */
export const directWriteBytesMax = 16 * kib;
/** Messages that came and nobody asked for, until no more are read. */
export const directReadFramesMax = 16;
/** How long the last message of a direct stream may take to be read by the other end. */
export const directLingerMs = 5_000;
/** Connections begun in one turn of the event loop: a handshake of TLS is 1 to 2 ms of work, many times that where others have the processor. */
export const rpcIntakePerTurn = 16;
/** A connection that was not begun by then is dropped: agents wait 10 s for all of their registration. */
export const rpcIntakeWaitMsMax = 5_000;
/** Longest text of an error on the wire: headers are bounded by HTTP/2 peers. */
export const rpcErrorTextMax = 2_048;
/** A client of the Engine API must have sent its request's head by then; silent ones are cut. */
export const httpHeadTimeoutMs = 10_000;
/** Connections to the Engine API wait this long for their next request; a slow client takes over 5 s between two. */
export const httpIdleTimeoutMs = 120_000;
/** ... and a JSON body by then; uploads take as long as they take. */
export const httpRequestTimeoutMs = 60_000;
/** A client whose conversation is over must close its side by then. */
export const hijackLingerMs = 5_000;
/** Processes that wait to be started and have detach keys of their own; older ones fall back to the default keys. */
export const execKeysMax = 1_000;
/** How often `docker stats` is told what a container uses, as Docker does it. */
export const statsPeriodMs = 1_000;
/** Head of an HTTP request; registry credentials travel in headers. */
export const httpHeadBytesMax = 256 * kib;
/** Open connections to one listener of the Engine API; each waiting CLI holds one or two. */
export const httpConnectionsMax = 4096;
/** Events kept for `docker events --since`, as Docker's daemon. */
export const eventsKeptMax = 256;
/** Events that wait for one slow reader; it is cut beyond. */
export const eventsWaitingMax = 4096;
/** How long a write waits for a leader to be elected before it is refused; elections take under 2 s. */
export const leaderWaitMs = 8_000;
/** A challenge of the renewal of an expired certificate is good this long. */
export const challengeLifeMs = 60_000;
/** Challenges a leader remembers: with the rate below a minute's worth, and room. */
export const challengesMax = 10_000;
/** Challenges one node may have open; others can ask in its name, so more than one. */
export const challengesPerNodeMax = 4;
/** Renewals of expired certificates from one address: a site behind one address may be large. */
export const expiredRenewalsPerAddress = { burst: 40, perSecond: 5 } as const;
/** Renewals of expired certificates at the leader; each costs about 3 ms, so they take a third of a core at most. */
export const expiredRenewalsAtLeader = { burst: 200, perSecond: 100 } as const;
/** Addresses whose rate is remembered. */
export const rateAddressesMax = 10_000;
/** Tasks of a removed node that are marked as lost in one transaction; leaves room for the removal itself. */
export const tasksOrphanedMax = 150;
/** How often a write that waits for a leader looks again; a look costs nothing. */
export const leaderPollMs = 25;
/** Pause before a source of events that failed is asked again. */
export const eventsRetryMs = 1_000;
/** A registry (or a proxy) that does not take a connection within this is not there. */
export const registryConnectMs = 10_000;
/** A registry that sends nothing for this long has failed; layers are then asked for again from where they stopped. */
export const registryStallMs = 30_000;
/** Idle connections to registries are closed after this. */
export const registryConnectionIdleMs = 15_000;
/** Redirects followed for one request, as Go's client. */
export const registryRedirectsMax = 10;
/** Tokens remembered, one per registry, user and scope. */
export const registryTokensMax = 1_000;
/** A manifest or an index: registries refuse larger ones at 4 MiB. */
export const manifestBytesMax = 4 * mib;
/** An image configuration: some kilobytes; a long history may make it larger. */
export const imageConfigBytesMax = 8 * mib;
/** Body of an error or a token from a registry. */
export const registryAnswerBytesMax = 256 * kib;
/** Nodes asked to explain a service; those with its tasks go first, and a hundred lines are more than anyone reads. */
export const explainNodesMax = 100;
/** Nodes asked at once: each takes a stream and an answer of some kilobytes. */
export const explainAtOnce = 32;
/** A node that has not told what it has within this is said not to answer; a loaded board takes two seconds. */
export const explainNodeMs = 6_000;
/** Requests in one plan: a stack of many services with all it uses. */
export const planRequestsMax = 1_000;
/** Nodes that are asked what they have of images when a plan is made; the others are counted. */
export const planNodesMax = 200;
/** How long a registry may take to say what an image is made of when a plan is made. */
export const planRegistryMs = 6_000;
/** What a node was not told yet is asked for again after this: a change is spread within a tenth of it. */
export const explainAgainMs = 1_000;
/** How long a leader is waited for before a service is explained without one: elections take a second. */
export const explainLeaderMs = 2_000;
/** Backends that are probed from one place; those beyond are no other in kind. */
export const explainBackendsMax = 16;
