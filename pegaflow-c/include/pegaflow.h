/* Pegaflow's C interface. Made by cbindgen from pegaflow-c/src: change it there.
 *
 * - Every call gives a pf_status, or a count (a descriptor) that is a negative pf_status where it failed. Zero is
 *   PF_OK; what is positive went as it should and took nothing (PF_FULL_*, PF_READY); what is negative is a failure, and
 *   pf_last_error() has its text. No call unwinds or calls exit.
 * - Handles are opaque and made by the call that takes their address; each is given back once, with its _free. NULL is
 *   given back without effect. A handle keeps what it needs: handles may be given back in any order.
 * - NULL and misaligned pointers are refused (PF_BAD_ARGUMENT), except NULL beside a length of 0 and where a call says
 *   so. A pointer that is neither has to point to what its type says, for as long as the call lasts.
 * - Texts that go in are UTF-8 and end with a NUL. Texts and bytes that come out are copied into the caller's buffer:
 *   `length` is always set to the whole length, and PF_SHORT_BUFFER says that nothing was copied. A text that comes
 *   out has no NUL.
 * - A struct that begins with struct_size is given with sizeof of that struct as the caller was compiled. A smaller one,
 *   of an older header, is taken as if the rest were zero; a larger one, of a newer header, is refused.
 * - Times: *_ns of a deadline is nanoseconds of CLOCK_MONOTONIC, as pf_now_ns() gives them; *_ns of a wait is a length.
 * - Any thread may call with a node, region, grant, remote, plan or counter. A port is used by one thread at a time: a
 *   call while another is under way is refused (PF_MISUSE). pf_port_free alone has to be the last.
 * - In a child of a fork every handle from before it is dead: calls give PF_MISUSE, pf_port_poll takes no events, a counter
 *   is 0, and giving back does nothing but free the handle.
 */

#ifndef PEGAFLOW_H
#define PEGAFLOW_H

#include <stddef.h>
#include <stdint.h>

/*
 The audience of a grant that is for every peer.
 */
#define PF_ANYONE 0

/*
 A deadline or time to sleep until that never comes.
 */
#define PF_NEVER UINT64_MAX

/*
 How a call ended: 0 and above as it should, below 0 as a failure whose text `pf_last_error` has.
 */
enum pf_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Done.
   */
  PF_OK = 0,
  /*
   Nothing was taken: as many transfers are in flight as the channel holds. Poll, and submit again.
   */
  PF_FULL_TRANSFERS = 1,
  /*
   Nothing was taken: the transfers in flight hold as many block ids as the channel has room for.
   */
  PF_FULL_BLOCKS = 2,
  /*
   Nothing was taken: the peer has no room for a message until it releases one.
   */
  PF_FULL_MESSAGES = 3,
  /*
   All counters of the channel are taken.
   */
  PF_FULL_COUNTERS = 4,
  /*
   `pf_port_arm`: there is something already. Poll, and don't sleep.
   */
  PF_READY = 5,
  /*
   The caller's buffer is too short; the length that is needed is told, and nothing was copied.
   */
  PF_SHORT_BUFFER = 6,
  /*
   Nothing was taken: the peer has taken the plan's grant back.
   */
  PF_REVOKED = 7,
  /*
   Nothing was asked: as many revokes are under way on the channel as it holds. Poll, and ask again.
   */
  PF_FULL_REVOKES = 8,
  /*
   A NULL or misaligned pointer, a text that is not UTF-8, a number that names nothing, a struct of another version.
   */
  PF_BAD_ARGUMENT = -1,
  /*
   The program broke a rule that it could have known; nothing was done.
   */
  PF_MISUSE = -2,
  /*
   Memory could not be had, registered, granted or reached.
   */
  PF_MEMORY = -3,
  /*
   A node, listener, channel or import did not come about.
   */
  PF_CONNECT = -4,
  /*
   The config.
   */
  PF_CONFIG = -5,
  /*
   The backend is not in this build, or can't work here.
   */
  PF_BACKEND = -6,
  /*
   The exchange of small values before the first transfer.
   */
  PF_RENDEZVOUS = -7,
  /*
   A defect of the library. A port in which it happened takes nothing but `pf_port_free` any more.
   */
  PF_PANIC = -100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_status pf_status;
#else
typedef int32_t pf_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What peers may do with granted windows; may be added.
 */
enum pf_access
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Write them.
   */
  PF_ACCESS_WRITE = 1,
  /*
   Read them.
   */
  PF_ACCESS_READ = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_access pf_access;
#else
typedef uint32_t pf_access;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Why something failed or broke.
 */
enum pf_cause_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Nothing failed.
   */
  PF_CAUSE_NONE = 0,
  /*
   The peer's process ended, or dropped the channel.
   */
  PF_CAUSE_PEER_GONE = 1,
  /*
   The peer closed the channel.
   */
  PF_CAUSE_PEER_CLOSED = 2,
  /*
   This side closed the channel.
   */
  PF_CAUSE_CLOSED_HERE = 3,
  /*
   Nobody answered in time.
   */
  PF_CAUSE_UNREACHABLE = 4,
  /*
   The peer refused the channel. `first`: 1 version, 2 backend, 3 full, 4 failed, 5 another node, 0 something else.
   */
  PF_CAUSE_REFUSED = 5,
  /*
   The peer wrote what no correct peer writes. `first`: where that was seen.
   */
  PF_CAUSE_GARBAGE = 6,
  /*
   The transport's error. `first`: its status, `second`: the vendor's code.
   */
  PF_CAUSE_TRANSPORT = 7,
  /*
   The peer's host or process has not answered for as long as the config lets it be silent.
   */
  PF_CAUSE_PEER_SILENT = 8,
  /*
   This side could not complete its end of the channel; its log says why.
   */
  PF_CAUSE_NOT_JOINED = 9,
  /*
   A call to this side's device failed. `first`: its errno.
   */
  PF_CAUSE_DEVICE = 10,
  /*
   This side fenced the channel.
   */
  PF_CAUSE_FENCED = 11,
  /*
   The peer fenced the channel.
   */
  PF_CAUSE_PEER_FENCED = 12,
  /*
   The peer has taken the grant back; the channel lives.
   */
  PF_CAUSE_REVOKED = 13,
  /*
   The bytes are not the same on both sides. `first`: the first move that differs.
   */
  PF_CAUSE_CORRUPT = 14,
  /*
   Something that these bindings have no name for.
   */
  PF_CAUSE_OTHER = 65535,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_cause_kind pf_cause_kind;
#else
typedef uint32_t pf_cause_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Classes of traffic.
 */
enum pf_class
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Paged KV-cache blocks.
   */
  PF_CLASS_KV = 0,
  /*
   Few huge tensors.
   */
  PF_CLASS_BULK = 1,
  /*
   Small, steady, latency-bound.
   */
  PF_CLASS_ACTIVATION = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_class pf_class;
#else
typedef uint32_t pf_class;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Which part of an event counts.
 */
enum pf_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   `of.ended`: a transfer ended. Once per accepted batch or message.
   */
  PF_EVENT_ENDED = 1,
  /*
   `of.quiet`: this side's bytes of an ended transfer are free now.
   */
  PF_EVENT_QUIET = 2,
  /*
   `of.message`: a message arrived.
   */
  PF_EVENT_MESSAGE = 3,
  /*
   `of.counters`: a counter of the channel moved.
   */
  PF_EVENT_COUNTERS = 4,
  /*
   `of.channel`: the state of a channel changed.
   */
  PF_EVENT_CHANNEL = 5,
  /*
   `of.revoked`: what is proven of a grant that was taken back.
   */
  PF_EVENT_REVOKED = 6,
  /*
   `of.device`: the device said something of itself.
   */
  PF_EVENT_DEVICE = 7,
  /*
   Something that these bindings have no name for.
   */
  PF_EVENT_OTHER = 65535,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_event_kind pf_event_kind;
#else
typedef uint32_t pf_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What may be done with memory that the caller brings.
 */
enum pf_foreign_memory
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   It can't be registered.
   */
  PF_FOREIGN_REFUSED = 0,
  /*
   It can be this side of a plan; it can't be granted.
   */
  PF_FOREIGN_LOCAL_SIDE = 1,
  /*
   It is as good as owned memory.
   */
  PF_FOREIGN_WHOLE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_foreign_memory pf_foreign_memory;
#else
typedef uint32_t pf_foreign_memory;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Where memory lives.
 */
enum pf_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Memory of the host.
   */
  PF_HOST = 0,
  /*
   Memory of an accelerator.
   */
  PF_DEVICE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_kind pf_kind;
#else
typedef uint32_t pf_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What a plan moves.
 */
enum pf_op
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   From here to there.
   */
  PF_WRITE = 0,
  /*
   From there to here.
   */
  PF_READ = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_op pf_op;
#else
typedef uint32_t pf_op;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 How a transfer ended.
 */
enum pf_outcome
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Its bytes are where they belong.
   */
  PF_DONE = 0,
  /*
   It was cancelled.
   */
  PF_CANCELLED = 1,
  /*
   Its deadline passed.
   */
  PF_DEADLINE_PASSED = 2,
  /*
   It failed; `cause` says why.
   */
  PF_FAILED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_outcome pf_outcome;
#else
typedef uint32_t pf_outcome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Pages under allocated memory.
 */
enum pf_page
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   The system's base pages.
   */
  PF_PAGE_BASE = 0,
  /*
   2 MiB pages from the system's pool.
   */
  PF_PAGE_2MIB = 1,
  /*
   1 GiB pages from the system's pool.
   */
  PF_PAGE_1GIB = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_page pf_page;
#else
typedef uint32_t pf_page;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Which fields of a shape count.
 */
enum pf_shape_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Blocks of one size in planes.
   */
  PF_SHAPE_PAGED = 0,
  /*
   A list of ranges.
   */
  PF_SHAPE_SPANS = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_shape_kind pf_shape_kind;
#else
typedef uint32_t pf_shape_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 The life of a channel.
 */
enum pf_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   The hand-shake is under way.
   */
  PF_CONNECTING = 0,
  /*
   Data flows.
   */
  PF_UP = 1,
  /*
   It failed; `cause` says why.
   */
  PF_BROKEN = 2,
  /*
   It was closed in order.
   */
  PF_CLOSED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_state pf_state;
#else
typedef uint32_t pf_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What follows the data of a batch.
 */
enum pf_then
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Nothing.
   */
  PF_THEN_NOTHING = 0,
  /*
   One is added to `counter`.
   */
  PF_THEN_COUNT = 1,
  /*
   `message` is handed to the peer.
   */
  PF_THEN_MESSAGE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pf_then pf_then;
#else
typedef uint32_t pf_then;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 A counter of this side, for one peer to count on.
 */
typedef struct pf_counter pf_counter;

/*
 Leave for peers to reach windows of a node.
 */
typedef struct pf_grant pf_grant;

/*
 A node: its backend is open, and its board answers at its listen address.
 */
typedef struct pf_node pf_node;

/*
 Two checked tables, here and there.
 */
typedef struct pf_plan pf_plan;

/*
 One thread's handle to channels.
 */
typedef struct pf_port pf_port;

/*
 Registered memory of a node.
 */
typedef struct pf_region pf_region;

/*
 Windows of a peer, as they are reached over one channel.
 */
typedef struct pf_remote pf_remote;

/*
 What the backend can do, and within which limits. Flags are 0 or 1.
 */
typedef struct pf_capabilities {
  /*
   `sizeof(pf_capabilities)`, set by the caller.
   */
  size_t struct_size;
  /*
   Plans that write.
   */
  uint32_t write;
  /*
   Plans that read.
   */
  uint32_t read;
  /*
   `PF_FOREIGN_*`.
   */
  uint32_t foreign_memory;
  /*
   Memory of an accelerator.
   */
  uint32_t device_memory;
  /*
   Bytes are moved inside `pf_port_poll`.
   */
  uint32_t copies_in_poll;
  /*
   Ordered paths of one channel.
   */
  uint32_t lanes;
  /*
   Most channels of one port.
   */
  uint32_t max_channels;
  /*
   Longest message in bytes.
   */
  uint32_t max_message_bytes;
  /*
   Most counters of one channel and direction.
   */
  uint32_t max_counters;
  /*
   Longest region in bytes.
   */
  uint64_t max_region_bytes;
} pf_capabilities;

/*
 A channel of one port; never 0.
 */
typedef uint64_t pf_channel;

/*
 How memory is allocated.
 */
typedef struct pf_allocate_options {
  /*
   `sizeof(pf_allocate_options)`.
   */
  size_t struct_size;
  /*
   `PF_PAGE_*`.
   */
  uint32_t page;
  /*
   1 to touch every page now.
   */
  uint32_t touch;
} pf_allocate_options;

/*
 A range of a region.
 */
typedef struct pf_window {
  /*
   Of which region.
   */
  const struct pf_region *region;
  /*
   Bytes from its start.
   */
  uint64_t offset;
  /*
   Length in bytes.
   */
  uint64_t bytes;
} pf_window;

/*
 A range of a window.
 */
typedef struct pf_span {
  /*
   Position in the windows given with the shape.
   */
  uint32_t window;
  /*
   Bytes from the window's start.
   */
  uint64_t offset;
  /*
   Length in bytes.
   */
  uint64_t bytes;
} pf_span;

/*
 One plane of a paged table: `offset` bytes into window number `window` lies block 0.
 */
typedef struct pf_plane {
  /*
   Position in the windows given with the shape.
   */
  uint32_t window;
  /*
   Bytes from the window's start to block 0.
   */
  uint64_t offset;
} pf_plane;

/*
 Part of a block: `count` runs of `bytes`, the first at `at`, then every `step` bytes.
 */
typedef struct pf_piece {
  /*
   Bytes from the block's start to the first run.
   */
  uint32_t at;
  /*
   Bytes from one run's start to the next's.
   */
  uint32_t step;
  /*
   Bytes of one run.
   */
  uint32_t bytes;
  /*
   Runs.
   */
  uint32_t count;
} pf_piece;

/*
 One side of a plan.
 */
typedef struct pf_shape {
  /*
   `sizeof(pf_shape)`.
   */
  size_t struct_size;
  /*
   `PF_SHAPE_PAGED` or `PF_SHAPE_SPANS`.
   */
  uint32_t kind;
  /*
   Spans: how many.
   */
  uint32_t span_count;
  /*
   Spans: where.
   */
  const struct pf_span *spans;
  /*
   Paged: the planes, in the order in which batches name them.
   */
  const struct pf_plane *planes;
  /*
   Paged: how many.
   */
  uint32_t plane_count;
  /*
   Paged: block ids are below this.
   */
  uint32_t blocks;
  /*
   Paged: bytes from one group of `split` blocks to the next.
   */
  uint64_t stride_bytes;
  /*
   Paged: which bytes of a block move.
   */
  const struct pf_piece *pieces;
  /*
   Paged: how many pieces.
   */
  uint32_t piece_count;
  /*
   Paged: blocks in a group; 0 is taken as 1.
   */
  uint32_t split;
  /*
   Paged: bytes from block to block within a group.
   */
  uint64_t split_bytes;
} pf_shape;

/*
 A cause and its numbers.
 */
typedef struct pf_cause {
  /*
   `PF_CAUSE_*`.
   */
  uint32_t kind;
  /*
   As the kind says.
   */
  uint32_t first;
  /*
   As the kind says.
   */
  uint32_t second;
} pf_cause;

/*
 `PF_EVENT_CHANNEL`, and what `pf_port_state` tells.
 */
typedef struct pf_channel_state {
  /*
   Which channel.
   */
  pf_channel channel;
  /*
   Of this life of the connection, where it is up: the same number on both sides.
   */
  uint64_t epoch;
  /*
   `PF_UP` and the like.
   */
  uint32_t state;
  /*
   Where it is broken.
   */
  struct pf_cause cause;
} pf_channel_state;

/*
 A plan plus block ids.
 */
typedef struct pf_batch {
  /*
   `sizeof(pf_batch)`.
   */
  size_t struct_size;
  /*
   Over which tables.
   */
  const struct pf_plan *plan;
  /*
   Block or span ids of this side.
   */
  const uint32_t *here;
  /*
   Block or span ids of the peer's side, as many.
   */
  const uint32_t *there;
  /*
   How many on each side.
   */
  size_t count;
  /*
   First plane.
   */
  uint32_t planes_begin;
  /*
   One past the last plane; 1 where the shapes are spans.
   */
  uint32_t planes_end;
  /*
   When the transfer ends if it has not ended before.
   */
  uint64_t deadline_ns;
  /*
   The caller's mark, given back with the end.
   */
  uint64_t tag;
  /*
   `PF_THEN_*`.
   */
  uint32_t then;
  /*
   The peer's counter, for `PF_THEN_COUNT`.
   */
  uint32_t counter;
  /*
   The message, for `PF_THEN_MESSAGE`.
   */
  const uint8_t *message;
  /*
   Its length.
   */
  size_t message_bytes;
} pf_batch;

/*
 A transfer of one port.
 */
typedef uint64_t pf_transfer;

/*
 `PF_EVENT_ENDED`.
 */
typedef struct pf_ended {
  /*
   The caller's mark.
   */
  uint64_t tag;
  /*
   Which transfer.
   */
  pf_transfer transfer;
  /*
   Payload bytes that moved.
   */
  uint64_t bytes;
  /*
   `PF_DONE` and the like.
   */
  uint32_t outcome;
  /*
   1 where this side's bytes are free; 0 where a `PF_EVENT_QUIET` follows.
   */
  uint32_t quiet;
  /*
   Where `outcome` is `PF_FAILED`.
   */
  struct pf_cause cause;
} pf_ended;

/*
 `PF_EVENT_QUIET`.
 */
typedef struct pf_quiet {
  /*
   The caller's mark.
   */
  uint64_t tag;
  /*
   Which transfer.
   */
  pf_transfer transfer;
} pf_quiet;

/*
 A received message that is held; its words mean nothing to the caller.
 */
typedef struct pf_slot {
  /*
   Given back as they came.
   */
  uint64_t words[2];
} pf_slot;

/*
 `PF_EVENT_MESSAGE`.
 */
typedef struct pf_arrived {
  /*
   Over which channel.
   */
  pf_channel channel;
  /*
   For `pf_port_message` and `pf_port_release`.
   */
  struct pf_slot slot;
  /*
   Its length.
   */
  uint32_t bytes;
} pf_arrived;

/*
 `PF_EVENT_COUNTERS`.
 */
typedef struct pf_counted {
  /*
   Which channel.
   */
  pf_channel channel;
} pf_counted;

/*
 `PF_EVENT_REVOKED`
 */
typedef struct pf_revoked {
  /*
   From whose peer.
   */
  pf_channel channel;
  /*
   The grant's epoch.
   */
  uint64_t epoch;
  /*
   `PF_REVOKED_*`.
   */
  uint32_t how;
} pf_revoked;

/*
 `PF_EVENT_DEVICE`. It ends nothing: channels say so themselves.
 */
typedef struct pf_device_event {
  /*
   `PF_DEVICE_*`.
   */
  uint32_t what;
  /*
   Where `what` is `PF_DEVICE_OTHER`.
   */
  uint32_t number;
  /*
   Which of the node's rails; 0 where there is one.
   */
  uint32_t rail;
} pf_device_event;

/*
 The part of an event that its kind names.
 */
typedef union pf_event_of {
  /*
   `PF_EVENT_ENDED`
   */
  struct pf_ended ended;
  /*
   `PF_EVENT_QUIET`
   */
  struct pf_quiet quiet;
  /*
   `PF_EVENT_MESSAGE`
   */
  struct pf_arrived message;
  /*
   `PF_EVENT_COUNTERS`
   */
  struct pf_counted counters;
  /*
   `PF_EVENT_CHANNEL`
   */
  struct pf_channel_state channel;
  /*
   `PF_EVENT_REVOKED`
   */
  struct pf_revoked revoked;
  /*
   `PF_EVENT_DEVICE`
   */
  struct pf_device_event device;
  /*
   Room for what comes.
   */
  uint64_t reserved[7];
} pf_event_of;

/*
 Something that happened. Its size stays: 64 bytes. Kinds may come; a program lets pass those that it doesn't know.
 */
typedef struct pf_event {
  /*
   `PF_EVENT_*`.
   */
  uint32_t kind;
  /*
   0.
   */
  uint32_t zero;
  /*
   What happened.
   */
  union pf_event_of of;
} pf_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The text of this thread's last failure, in UTF-8 and NUL-terminated; empty where nothing has failed. It is good
 until the next failure in this thread, and is not freed.
 */
const char *pf_last_error(void);

/*
 Nanoseconds of CLOCK_MONOTONIC now, to make deadlines of.
 */
uint64_t pf_now_ns(void);

/*
 Opens node `name` of the config file at `config_path`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_open(const char *config_path, const char *name, struct pf_node **node);

/*
 Gives a node back. It lives on until its ports are given back too.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_node_free(struct pf_node *node);

/*
 Tells what the backend can do here. The caller sets `struct_size` before.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_capabilities(const struct pf_node *node, struct pf_capabilities *capabilities);

/*
 Copies out the node's address: opaque bytes that any peer may dial, good for the node's life.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_address(const struct pf_node *node, uint8_t *buffer, size_t capacity, size_t *length);

/*
 Puts bytes on this node's board, for other nodes of the config to fetch.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_publish(const struct pf_node *node, const char *key, const uint8_t *bytes, size_t length);

/*
 Fetches what `peer` has published; blocks until it is there, up to the config's patience.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_fetch(const struct pf_node *node,
                        const char *peer,
                        const char *key,
                        uint8_t *buffer,
                        size_t capacity,
                        size_t *length);

/*
 Brings up the channel that the config has between this node and `peer`; blocks up to the config's patience, and
 needs the peer to do the same at the same time. One thread that holds both ends dials and listens instead.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_connect(const struct pf_node *node,
                          const struct pf_port *port,
                          const char *peer,
                          uint32_t class_,
                          pf_channel *channel);

/*
 Allocates and registers zeroed memory. `options` may be NULL: base pages, untouched.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_allocate(const struct pf_node *node,
                           uint64_t bytes,
                           const struct pf_allocate_options *options,
                           struct pf_region **region);

/*
 Registers memory that the caller brings. Once nothing of the library's can touch it any more, whichever handles are
 gone, `released(context)` is called, once and by any thread; never where this call fails. It may be NULL.

 `kind` is `PF_HOST` or `PF_DEVICE`; `ordinal` is the device's number.

 # Safety
 - Pointers are as the head of the header says.
 - `base .. base + bytes` stays mapped, readable and writable until `released` is called.
 - `released` may be called with `context` by any thread, and does not unwind.
 */
pf_status pf_node_register(const struct pf_node *node,
                           void *base,
                           uint64_t bytes,
                           uint32_t kind,
                           uint32_t ordinal,
                           void (*released)(void *context),
                           void *context,
                           struct pf_region **region);

/*
 Gives the peer of `channel`, or with `PF_ANYONE` every peer, leave to reach windows of this node. `access` is
 `PF_ACCESS_WRITE`, `PF_ACCESS_READ` or their sum.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_grant(const struct pf_node *node,
                        const struct pf_window *window,
                        size_t window_count,
                        uint32_t access,
                        pf_channel channel,
                        struct pf_grant **grant);

/*
 Makes a peer's grant usable over a connected channel; blocks up to `wait_ns` for the peer's control thread.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_node_import(const struct pf_node *node,
                         pf_channel channel,
                         const uint8_t *grant,
                         size_t length,
                         uint64_t wait_ns,
                         struct pf_remote **remote);

/*
 Gives a region back. Its memory goes once nothing else holds it either: plans, transfers that are not quiet, grants,
 and channels whose peer has imported a grant over it.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_region_free(struct pf_region *region);

/*
 Tells a region's first byte and length. A peer may write granted memory at any time.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_region_place(const struct pf_region *region, void **base, uint64_t *bytes);

/*
 Copies bytes into a region.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_region_write(const struct pf_region *region, uint64_t offset, const uint8_t *bytes, size_t length);

/*
 Copies bytes out of a region.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_region_read(const struct pf_region *region, uint64_t offset, uint8_t *bytes, size_t length);

/*
 Copies out a grant's bytes, for the peer's `pf_node_import`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_grant_bytes(const struct pf_grant *grant, uint8_t *buffer, size_t capacity, size_t *length);

/*
 Ends a grant: later imports are refused; what was imported stays reachable until its channel ends.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_grant_free(struct pf_grant *grant);

/*
 Gives an import back. Plans over it stay good.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_remote_free(struct pf_remote *remote);

/*
 Makes a plan: what lies here, what lies there, how they are paired. `op` is `PF_WRITE` or `PF_READ`. All offsets are
 checked now; the lists are copied.

 # Safety
 - Pointers are as the head of the header says, those in the shapes and windows too.
 */
pf_status pf_node_plan(const struct pf_node *node,
                       uint32_t op,
                       const struct pf_window *window,
                       size_t window_count,
                       const struct pf_shape *here,
                       const struct pf_remote *remote,
                       const struct pf_shape *there,
                       struct pf_plan **plan);

/*
 Gives a plan back. Transfers over it go on.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_plan_free(struct pf_plan *plan);

/*
 Opens a port.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_open(const struct pf_node *node, struct pf_port **port);

/*
 Gives a port back: its channels end, and nothing touches memory for it any more.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_port_free(struct pf_port *port);

/*
 Takes the dials of peers for a class; each gives a channel, made known by its `PF_EVENT_CHANNEL`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_listen(const struct pf_port *port, uint32_t class_);

/*
 Begins to connect to the node at `address`. An event says `PF_UP`, or after `patience_ns` `PF_BROKEN`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_dial(const struct pf_port *port,
                       const uint8_t *address,
                       size_t length,
                       uint32_t class_,
                       uint64_t patience_ns,
                       pf_channel *channel);

/*
 Tells the state of a channel. `PF_MISUSE` for one that this port never had, or has forgotten.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_state(const struct pf_port *port, pf_channel channel, struct pf_channel_state *state);

/*
 Copies out the name of the node at the other end; a length of 0 before it is known.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_peer(const struct pf_port *port,
                       pf_channel channel,
                       uint8_t *buffer,
                       size_t capacity,
                       size_t *length);

/*
 Tells the channel of a class that leads to the node called `peer` and is up; 0 where there is none.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_find(const struct pf_port *port, const char *peer, uint32_t class_, pf_channel *channel);

/*
 Makes a counter for the peer of `channel` to count on. `PF_FULL_COUNTERS` where all are taken.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_counter(const struct pf_port *port, pf_channel channel, struct pf_counter **counter);

/*
 Tells the number that the sender names in `pf_batch.counter`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_counter_id(const struct pf_counter *counter, uint32_t *id);

/*
 Tells how many counted transfers have landed; all their bytes are visible to this thread. Any thread, never blocks.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_counter_value(const struct pf_counter *counter, uint64_t *value);

/*
 Tells how many transfers that were to be counted will not be: cancelled by their sender, or past their deadline. Any
 thread, never blocks.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_counter_aborted(const struct pf_counter *counter, uint64_t *value);

/*
 Retires a counter: what comes late finds none and changes nothing.

 # Safety
 - Pointers are as the head of the header says; nobody uses the handle any more.
 */
pf_status pf_counter_free(struct pf_counter *counter);

/*
 Submits a batch. Everything is checked and copied now. `PF_OK`: it ends once, with an event that carries its tag;
 `PF_FULL_*`: nothing was taken. `transfer` may be NULL.

 # Safety
 - Pointers are as the head of the header says, those in the batch too.
 */
pf_status pf_port_submit(const struct pf_port *port,
                         pf_channel channel,
                         const struct pf_batch *batch,
                         pf_transfer *transfer);

/*
 Sends a message alone, after all that was submitted before on this channel. `transfer` may be NULL.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_send(const struct pf_port *port,
                       pf_channel channel,
                       const uint8_t *message,
                       size_t length,
                       uint64_t deadline_ns,
                       uint64_t tag,
                       pf_transfer *transfer);

/*
 Moves everything on and hands out what happened, at most `capacity` events and 64; gives how many, or a negative
 status.

 # Safety
 - Pointers are as the head of the header says.
 */
int pf_port_poll(const struct pf_port *port, struct pf_event *event, size_t capacity);

/*
 Copies out the bytes of a received message.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_message(const struct pf_port *port,
                          struct pf_slot slot,
                          uint8_t *buffer,
                          size_t capacity,
                          size_t *length);

/*
 Gives a message back, and its credit to the sender.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_release(const struct pf_port *port, struct pf_slot slot);

/*
 Withdraws what is not posted of a transfer. Gives 1 where it was in flight, and then ends cancelled; 0 where it had
 ended; or a negative status.

 # Safety
 - Pointers are as the head of the header says.
 */
int pf_port_cancel(const struct pf_port *port, pf_transfer transfer);

/*
 Closes a channel in order: nothing more is accepted, what was accepted ends, then the channel is `PF_CLOSED`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_close(const struct pf_port *port, pf_channel channel);

/*
 Breaks a channel, so that everything on this side becomes quiet: what is in flight fails with `PF_CAUSE_FENCED`.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_fence(const struct pf_port *port, pf_channel channel);

/*
 Takes a grant back from the peer of a channel; without an answer within `fence_after_ns` the channel is fenced. One
 `PF_EVENT_REVOKED` says what is proven. `PF_FULL_REVOKES` where nothing was asked.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_revoke(const struct pf_port *port,
                         const struct pf_grant *grant,
                         pf_channel channel,
                         uint64_t fence_after_ns);

/*
 After `PF_REVOKED_UNPROVEN`: puts fresh zeroed memory below the grant's regions, at the same addresses. It is then told
 as `PF_REVOKED_FENCED`; what was in the memory is lost.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_revoke_swap(const struct pf_port *port, const struct pf_grant *grant, pf_channel channel);

/*
 Prepares to sleep. `PF_READY`: poll now. `PF_OK`: wait until the descriptor is readable or `until_ns` has come
 (`PF_NEVER`: for the descriptor alone), then poll.

 # Safety
 - Pointers are as the head of the header says.
 */
pf_status pf_port_arm(const struct pf_port *port, uint64_t *until_ns);

/*
 Gives the descriptor to wait on, for poll(2), epoll(7) or an event loop, good for the port's life; or a negative
 status. It is not closed by the caller.

 # Safety
 - Pointers are as the head of the header says.
 */
int pf_port_fd(const struct pf_port *port);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PEGAFLOW_H */
