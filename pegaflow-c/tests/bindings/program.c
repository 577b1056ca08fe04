/* Two nodes in one process and one thread: blocks go from left to right and back, and what is wrong is refused. */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pegaflow.h"

#define BLOCK 4096u
#define BLOCKS 8u
#define SECOND 1000000000ull

#define CHECK(what)                                                                                    \
  do {                                                                                                 \
    if (!(what)) {                                                                                     \
      fprintf(stderr, "line %d: %s; last error: %s\n", __LINE__, #what, pf_last_error());              \
      exit(1);                                                                                         \
    }                                                                                                  \
  } while (0)
#define OK(call) CHECK((call) == PF_OK)
#define REFUSED(call, with, text) CHECK((call) == (with) && strstr(pf_last_error(), text) != NULL)

static pf_port *ports[2];
static pf_event last[2][8];
static int lasts[2];

static uint64_t soon(void) { return pf_now_ns() + 10 * SECOND; }

/* Polls both ends once and keeps what came. */
static void turn(void) {
  for (int side = 0; side < 2; side++) {
    lasts[side] = pf_port_poll(ports[side], last[side], 8);
    CHECK(lasts[side] >= 0);
  }
}

/* Polls both ends until `side` hands out an event of a kind. */
static pf_event await(int side, uint32_t kind) {
  for (uint64_t until = soon(); pf_now_ns() < until;) {
    turn();
    for (int at = 0; at < lasts[side]; at++) {
      if (last[side][at].kind == kind) return last[side][at];
    }
  }
  fprintf(stderr, "no event of kind %u in time\n", kind);
  exit(1);
}

static void ended(uint64_t tag, uint64_t bytes) {
  pf_ended end = await(0, PF_EVENT_ENDED).of.ended;
  CHECK(end.tag == tag && end.outcome == PF_DONE && end.quiet == 1 && end.bytes == bytes);
  CHECK(end.cause.kind == PF_CAUSE_NONE);
}

static _Atomic int releases;
static void released(void *context) {
  CHECK(context == &releases);
  releases++;
}

/* Holds left's port until the config's patience is over: right never dials. */
static void *hold(void *node) {
  pf_channel channel;
  pf_status status;
  do {
    status = pf_node_connect(node, ports[0], "right", PF_CLASS_BULK, &channel);
  } while (status == PF_MISUSE);
  REFUSED(status, PF_CONNECT, "`right` has not dialled");
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  CHECK(strcmp(pf_last_error(), "") == 0);

  /* Nodes. */
  pf_node *nodes[2], *none = NULL;
  REFUSED(pf_node_open("/nowhere.toml", "left", &none), PF_CONFIG, "/nowhere.toml");
  REFUSED(pf_node_open(arguments[1], "lef", &none), PF_CONFIG, "left");
  REFUSED(pf_node_open(arguments[1], NULL, &none), PF_BAD_ARGUMENT, "`name` is NULL");
  REFUSED(pf_node_open(arguments[1], "\xff", &none), PF_BAD_ARGUMENT, "UTF-8");
  REFUSED(pf_node_open(arguments[1], "left", NULL), PF_BAD_ARGUMENT, "`node` is NULL");
  CHECK(none == NULL);
  OK(pf_node_open(arguments[1], "left", &nodes[0]));
  OK(pf_node_open(arguments[1], "right", &nodes[1]));
  pf_capabilities can = {.struct_size = sizeof can};
  OK(pf_node_capabilities(nodes[0], &can));
  CHECK(can.write == 1 && can.read == 1 && can.max_message_bytes >= 256 && can.max_region_bytes > 0);
  pf_capabilities older = {.struct_size = offsetof(pf_capabilities, lanes), .lanes = 77};
  OK(pf_node_capabilities(nodes[0], &older));
  CHECK(older.write == 1 && older.lanes == 77 && older.struct_size == offsetof(pf_capabilities, lanes));

  /* Memory. */
  pf_region *regions[2];
  pf_allocate_options how = {.struct_size = sizeof how, .touch = 1};
  for (int side = 0; side < 2; side++) OK(pf_node_allocate(nodes[side], BLOCKS * BLOCK, &how, &regions[side]));
  REFUSED(pf_node_allocate(nodes[0], 0, NULL, &regions[0]), PF_MEMORY, "a region of 0 bytes");
  how.page = 9;
  REFUSED(pf_node_allocate(nodes[0], 1, &how, &regions[0]), PF_BAD_ARGUMENT, "page size 9");
  unsigned char bytes[BLOCK], back[BLOCK];
  for (unsigned block = 0; block < BLOCKS; block++) {
    memset(bytes, 'a' + (int)block, sizeof bytes);
    OK(pf_region_write(regions[0], block * BLOCK, bytes, sizeof bytes));
  }
  REFUSED(pf_region_write(regions[0], BLOCKS * BLOCK, bytes, 1), PF_MEMORY, "of a region of");
  void *base;
  uint64_t length;
  OK(pf_region_place(regions[0], &base, &length));
  CHECK(length == BLOCKS * BLOCK && *(char *)base == 'a');
  REFUSED(pf_region_read(regions[0], 0, (unsigned char *)base + 8, 16), PF_BAD_ARGUMENT, "in the region itself");

  /* A channel. */
  for (int side = 0; side < 2; side++) OK(pf_port_open(nodes[side], &ports[side]));
  uint8_t address[512];
  size_t address_bytes;
  CHECK(pf_node_address(nodes[1], NULL, 0, &address_bytes) == PF_SHORT_BUFFER);
  CHECK(address_bytes > 0 && address_bytes <= sizeof address);
  OK(pf_node_address(nodes[1], address, sizeof address, &address_bytes));
  REFUSED(pf_port_listen(ports[1], 3), PF_BAD_ARGUMENT, "class 3");
  OK(pf_port_listen(ports[1], PF_CLASS_KV));
  pf_channel to, from;
  REFUSED(pf_port_dial(ports[0], address, 3, PF_CLASS_KV, SECOND, &to), PF_CONNECT, "not a node address");
  OK(pf_port_dial(ports[0], address, address_bytes, PF_CLASS_KV, 10 * SECOND, &to));
  pf_channel_state state = await(0, PF_EVENT_CHANNEL).of.channel;
  CHECK(state.channel == to && state.state == PF_UP);
  OK(pf_port_find(ports[1], "left", PF_CLASS_KV, &from));
  CHECK(from != 0);
  pf_channel_state theirs;
  OK(pf_port_state(ports[1], from, &theirs));
  CHECK(theirs.state == PF_UP && theirs.epoch == state.epoch);
  uint8_t name[8];
  size_t name_bytes;
  OK(pf_port_peer(ports[0], to, name, sizeof name, &name_bytes));
  CHECK(name_bytes == 5 && memcmp(name, "right", 5) == 0);

  /* A grant, and plans over it. */
  pf_window mine = {regions[0], 0, BLOCKS * BLOCK}, granted = {regions[1], 0, BLOCKS * BLOCK};
  pf_grant *grant;
  REFUSED(pf_node_grant(nodes[1], &granted, 1, 4, from, &grant), PF_BAD_ARGUMENT, "access 4");
  pf_window beyond = {regions[1], 1, UINT64_MAX};
  REFUSED(pf_node_grant(nodes[1], &beyond, 1, PF_ACCESS_WRITE, from, &grant), PF_BAD_ARGUMENT, "has no end");
  OK(pf_node_grant(nodes[1], &granted, 1, PF_ACCESS_WRITE | PF_ACCESS_READ, PF_ANYONE, &grant));
  uint8_t blob[512];
  size_t blob_bytes;
  OK(pf_grant_bytes(grant, blob, sizeof blob, &blob_bytes));
  pf_remote *remote;
  OK(pf_node_import(nodes[0], to, blob, blob_bytes, 10 * SECOND, &remote));
  pf_plane plane = {.window = 0, .offset = 0};
  pf_piece whole = {.bytes = BLOCK, .count = 1};
  pf_shape paged = {.struct_size = sizeof paged, .kind = PF_SHAPE_PAGED, .planes = &plane, .plane_count = 1,
                    .blocks = BLOCKS, .stride_bytes = BLOCK, .pieces = &whole, .piece_count = 1};
  pf_plan *blocks, *spans;
  OK(pf_node_plan(nodes[0], PF_WRITE, &mine, 1, &paged, remote, &paged, &blocks));
  pf_span span[2] = {{0, 10, 100}, {0, 5 * BLOCK, 200}};
  pf_shape listed = {.struct_size = sizeof listed, .kind = PF_SHAPE_SPANS, .spans = span, .span_count = 2};
  OK(pf_node_plan(nodes[0], PF_READ, &mine, 1, &listed, remote, &listed, &spans));
  listed.span_count = 0;
  REFUSED(pf_node_plan(nodes[0], PF_READ, &mine, 1, &listed, remote, &listed, &spans), PF_MISUSE, "0 spans");
  paged.struct_size += 8;
  REFUSED(pf_node_plan(nodes[0], PF_WRITE, &mine, 1, &paged, remote, &paged, &blocks), PF_BAD_ARGUMENT,
          "pf_shape.struct_size");

  /* Blocks 0, 1 and 2 into 7, 3 and 5; then the counter. */
  pf_counter *counter;
  uint32_t counter_id;
  uint64_t value;
  OK(pf_port_counter(ports[1], from, &counter));
  OK(pf_counter_id(counter, &counter_id));
  uint32_t here[3] = {0, 1, 2}, there[3] = {7, 3, 5};
  pf_batch batch = {.struct_size = sizeof batch, .plan = blocks, .here = here, .there = there, .count = 3,
                    .planes_begin = 0, .planes_end = 1, .deadline_ns = soon(), .tag = 1,
                    .then = PF_THEN_COUNT, .counter = counter_id};
  pf_transfer transfer;
  OK(pf_port_submit(ports[0], to, &batch, &transfer));
  ended(1, 3 * BLOCK);
  OK(pf_counter_value(counter, &value));
  CHECK(value == 1);
  for (int at = 0; at < 3; at++) {
    OK(pf_region_read(regions[1], there[at] * BLOCK, back, sizeof back));
    memset(bytes, 'a' + at, sizeof bytes);
    CHECK(memcmp(back, bytes, sizeof back) == 0);
  }
  OK(pf_region_read(regions[1], 0, back, sizeof back));
  memset(bytes, 0, sizeof bytes);
  CHECK(memcmp(back, bytes, sizeof back) == 0);
  CHECK(pf_port_cancel(ports[0], transfer) == 0);
  CHECK(pf_port_cancel(ports[0], UINT64_MAX) == 0);

  /* An older caller's batch has nothing that follows; a newer one's is refused. */
  batch.struct_size = offsetof(pf_batch, then);
  batch.tag = 2;
  OK(pf_port_submit(ports[0], to, &batch, NULL));
  ended(2, 3 * BLOCK);
  OK(pf_counter_value(counter, &value));
  CHECK(value == 1);
  batch.struct_size = sizeof batch + 8;
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_BAD_ARGUMENT, "pf_batch.struct_size");
  batch.struct_size = sizeof batch;

  /* Span 1 of there into span 1 of here, with a message after it. */
  uint32_t one[1] = {1};
  pf_batch read = {.struct_size = sizeof read, .plan = spans, .here = one, .there = one, .count = 1, .planes_end = 1,
                   .deadline_ns = soon(), .tag = 3, .then = PF_THEN_MESSAGE,
                   .message = (const uint8_t *)"read it", .message_bytes = 7};
  OK(pf_port_submit(ports[0], to, &read, NULL));
  pf_arrived arrived = await(1, PF_EVENT_MESSAGE).of.message;
  OK(pf_region_read(regions[0], 5 * BLOCK, back, 201));
  memset(bytes, 'c', 200);
  bytes[200] = 'f';
  CHECK(memcmp(back, bytes, 201) == 0);
  CHECK(arrived.channel == from && arrived.bytes == 7);
  uint8_t text[7];
  size_t text_bytes;
  CHECK(pf_port_message(ports[1], arrived.slot, text, 6, &text_bytes) == PF_SHORT_BUFFER && text_bytes == 7);
  OK(pf_port_message(ports[1], arrived.slot, text, sizeof text, &text_bytes));
  CHECK(memcmp(text, "read it", 7) == 0);
  OK(pf_port_release(ports[1], arrived.slot));
  REFUSED(pf_port_release(ports[1], arrived.slot), PF_MISUSE, "slot is not held");
  pf_slot forged = {{arrived.slot.words[0], UINT64_MAX}};
  REFUSED(pf_port_message(ports[1], forged, text, sizeof text, &text_bytes), PF_MISUSE, "slot is not held");

  /* A message alone, waited for asleep. */
  turn();
  uint64_t until;
  pf_status armed = pf_port_arm(ports[1], &until);
  CHECK(armed == PF_OK || armed == PF_READY);
  OK(pf_port_send(ports[0], to, (const uint8_t *)"alone", 5, soon(), 4, NULL));
  pf_port_poll(ports[0], NULL, 0);
  struct pollfd wait = {.fd = pf_port_fd(ports[1]), .events = POLLIN};
  CHECK(wait.fd >= 0);
  CHECK(armed == PF_READY || poll(&wait, 1, 10000) == 1);
  arrived = await(1, PF_EVENT_MESSAGE).of.message;
  OK(pf_port_release(ports[1], arrived.slot));

  /* What is wrong. */
  there[1] = BLOCKS;
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_MISUSE, "block id 8 at position 1 (there)");
  there[1] = 3;
  REFUSED(pf_port_submit(ports[0], to + 1, &batch, NULL), PF_MISUSE, "is not a channel of this port");
  REFUSED(pf_port_submit(ports[0], 0, &batch, NULL), PF_MISUSE, "is not a channel of this port");
  REFUSED(pf_port_submit(NULL, to, &batch, NULL), PF_BAD_ARGUMENT, "`port` is NULL");
  REFUSED(pf_port_submit(ports[0], to, (const pf_batch *)((char *)&batch + 1), NULL), PF_BAD_ARGUMENT,
          "expected a multiple of 8");
  batch.here = NULL;
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_BAD_ARGUMENT, "`batch.here` is NULL");
  batch.here = (const uint32_t *)((char *)here + 1);
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_BAD_ARGUMENT, "`batch.here` is ");
  batch.here = here;
  batch.count = SIZE_MAX;
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_BAD_ARGUMENT, "do not fit into memory");
  batch.count = 3;
  batch.then = 3;
  REFUSED(pf_port_submit(ports[0], to, &batch, NULL), PF_BAD_ARGUMENT, "then 3");
  batch.then = PF_THEN_NOTHING;
  CHECK(pf_port_poll(ports[0], NULL, 1) == PF_BAD_ARGUMENT);
  REFUSED(pf_node_import(nodes[0], to + 1, blob, blob_bytes, SECOND, &remote), PF_CONNECT, "is not connected");

  /* A deadline that has passed. */
  batch.deadline_ns = 1;
  batch.tag = 5;
  for (int at = 0; at < 4; at++) turn();
  OK(pf_port_submit(ports[0], to, &batch, NULL));
  pf_ended end = await(0, PF_EVENT_ENDED).of.ended;
  CHECK(end.tag == 5 && (end.outcome == PF_DEADLINE_PASSED || end.outcome == PF_DONE));

  /* Memory of the program's own. */
  pf_region *own;
  static unsigned char pool[BLOCK];
  REFUSED(pf_node_register(nodes[0], pool, sizeof pool, PF_DEVICE, 0, released, &releases, &own), PF_MEMORY,
          "device 0");
  CHECK(releases == 0);
  OK(pf_node_register(nodes[0], pool, sizeof pool, PF_HOST, 0, released, &releases, &own));
  CHECK(can.foreign_memory != PF_FOREIGN_REFUSED);
  pf_window pooled = {own, 0, sizeof pool};
  pf_shape small = {.struct_size = sizeof small, .kind = PF_SHAPE_SPANS, .spans = span, .span_count = 1};
  pf_plan *lent;
  OK(pf_node_plan(nodes[0], PF_WRITE, &pooled, 1, &small, remote, &small, &lent));
  memset(pool, 'z', sizeof pool);
  uint32_t zero[1] = {0};
  pf_batch push = {.struct_size = sizeof push, .plan = lent, .here = zero, .there = zero, .count = 1, .planes_end = 1,
                   .deadline_ns = soon(), .tag = 6};
  OK(pf_port_submit(ports[0], to, &push, NULL));
  OK(pf_region_free(own));
  OK(pf_plan_free(lent));
  CHECK(releases == 0);
  ended(6, 100);
  /* By the library's own thread, in its own time. */
  uint64_t given_back = soon();
  while (releases == 0) CHECK(pf_now_ns() < given_back);
  CHECK(releases == 1);
  OK(pf_region_read(regions[1], 10, back, 1));
  CHECK(back[0] == 'z');

  /* Two threads in one port: the second is refused, and its text is its own. */
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, hold, nodes[0]) == 0);
  uint64_t patience = soon();
  while (pf_port_listen(ports[0], PF_CLASS_ACTIVATION + 1) != PF_MISUSE) CHECK(pf_now_ns() < patience);
  CHECK(strstr(pf_last_error(), "in use by another thread") != NULL);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strstr(pf_last_error(), "in use by another thread") != NULL);

  /* The end. */
  OK(pf_port_close(ports[0], to));
  do {
    state = await(1, PF_EVENT_CHANNEL).of.channel;
  } while (state.channel != from);
  CHECK(state.state == PF_CLOSED);
  OK(pf_counter_free(counter));
  OK(pf_counter_free(NULL));
  OK(pf_plan_free(blocks));
  OK(pf_plan_free(spans));
  OK(pf_remote_free(remote));
  OK(pf_grant_free(grant));
  for (int side = 0; side < 2; side++) {
    OK(pf_node_free(nodes[side]));
    OK(pf_port_free(ports[side]));
    OK(pf_region_free(regions[side]));
  }
  puts("all checks held");
  return 0;
}
