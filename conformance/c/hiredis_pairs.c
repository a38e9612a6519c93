/* A client as C programs have it: hiredis on libevent, asynchronous, with many commands on their way at once. Four
 * connections share 100,000 pairs of SET and GET; every answer is compared with what must come next on its connection.
 * Another one is subscribed meanwhile, and gets its messages in order. Ends with the line "N checks passed".
 * The trap: a callback that is never called is no failure by itself, so all of them are counted. */

#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAIRS = 100000,
    CONNECTIONS = 4,
    /* On their way at once, per connection. */
    WINDOW = 1000,
    VALUE_MAX = 300,
    MESSAGES = 1000,
    SECONDS_MAX = 120,
};

struct connection {
    redisAsyncContext *context;
    long sent, answered, end;
};

/* A command and the answer it must get. */
struct odd {
    const char *command;
    int type;
    const char *text;
};

static struct event_base *loop;
static struct connection connections[CONNECTIONS];
static redisAsyncContext *subscriber, *publisher;
static long checks, messages, open_count;
/* The first connection ends by QUIT. */
static int has_quit;

static void fail(const char *what, long at, const redisReply *reply) {
    printf("%s at %ld: type %d %.*s\n", what, at, reply ? reply->type : 0,
           reply && reply->str ? (int)reply->len : 0, reply && reply->str ? reply->str : "");
    exit(1);
}

static void check(int holds, const char *what, long at, const redisReply *reply) {
    if (!holds) fail(what, at, reply);
    checks++;
}

/* The value of a pair: any bytes, CR, LF and zero among them; its length is given back. */
static size_t value_of(long pair, char *value) {
    size_t len = (size_t)(pair * 7919 % VALUE_MAX);
    for (size_t i = 0; i < len; i++) value[i] = (char)(pair + (long)i * 31);
    return len;
}

static void send_pairs(struct connection *connection);

static const struct odd odd_ones[] = {
    {"NOSUCHCOMMAND", REDIS_REPLY_ERROR, "ERR unknown command"},
    {"LPUSH pair:0 x", REDIS_REPLY_ERROR, "WRONGTYPE"},
    {"GET nobody", REDIS_REPLY_NIL, NULL},
    {"RPUSH list a b c", REDIS_REPLY_INTEGER, NULL},
    {"LRANGE list 0 -1", REDIS_REPLY_ARRAY, NULL},
    {"MULTI", REDIS_REPLY_STATUS, "OK"},
    {"INCR counter", REDIS_REPLY_STATUS, "QUEUED"},
    {"EXEC", REDIS_REPLY_ARRAY, NULL},
};

static void on_odd(redisAsyncContext *context, void *answer, void *data) {
    redisReply *reply = answer;
    const struct odd *odd = data;
    long at = odd - odd_ones;
    (void)context;
    check(reply && reply->type == odd->type, odd->command, at, reply);
    check(!odd->text || strncmp(reply->str, odd->text, strlen(odd->text)) == 0, odd->command, at, reply);
}

static void on_quit(redisAsyncContext *context, void *answer, void *data) {
    redisReply *reply = answer;
    (void)context;
    (void)data;
    has_quit = 1;
    check(reply && reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0, "QUIT", 0, reply);
}

/* What a client meets beside values; in the end the server closes, and only behind its answer. */
static void send_odd_ones(redisAsyncContext *context) {
    for (size_t i = 0; i < sizeof odd_ones / sizeof *odd_ones; i++) {
        redisAsyncCommand(context, on_odd, (void *)&odd_ones[i], odd_ones[i].command);
    }
    redisAsyncCommand(context, on_quit, NULL, "QUIT");
}

static void on_set(redisAsyncContext *context, void *answer, void *data) {
    redisReply *reply = answer;
    struct connection *connection = context->data;
    long pair = (long)(size_t)data;
    check(reply && pair == connection->answered, "an answer to SET out of order", pair, reply);
    check(reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0, "SET", pair, reply);
}

static void on_get(redisAsyncContext *context, void *answer, void *data) {
    char value[VALUE_MAX];
    redisReply *reply = answer;
    struct connection *connection = context->data;
    long pair = (long)(size_t)data;
    size_t len = value_of(pair, value);
    check(reply && pair == connection->answered, "an answer to GET out of order", pair, reply);
    check(reply->type == REDIS_REPLY_STRING && (size_t)reply->len == len && memcmp(reply->str, value, len) == 0, "GET",
          pair, reply);
    connection->answered++;
    if (connection->answered < connection->end) {
        if (connection->sent - connection->answered < WINDOW / 2) send_pairs(connection);
    } else if (connection == connections) {
        send_odd_ones(context);
    } else {
        redisAsyncDisconnect(context);
    }
}

static void send_pairs(struct connection *connection) {
    char value[VALUE_MAX];
    for (; connection->sent < connection->end && connection->sent - connection->answered < WINDOW; connection->sent++) {
        long pair = connection->sent;
        size_t len = value_of(pair, value);
        void *data = (void *)(size_t)pair;
        redisAsyncCommand(connection->context, on_set, data, "SET pair:%ld %b", pair, value, len);
        redisAsyncCommand(connection->context, on_get, data, "GET pair:%ld", pair);
    }
}

static void on_publish(redisAsyncContext *context, void *answer, void *data) {
    redisReply *reply = answer;
    long number = (long)(size_t)data;
    check(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1, "PUBLISH", number, reply);
    if (number == MESSAGES - 1) redisAsyncDisconnect(context);
}

/* The answer to SUBSCRIBE, then the messages, then the answer to UNSUBSCRIBE. */
static void on_message(redisAsyncContext *context, void *answer, void *data) {
    char expected[32];
    redisReply *reply = answer;
    (void)data;
    if (!reply) return;
    check(reply->type == REDIS_REPLY_ARRAY && reply->elements == 3, "a message", messages, reply);
    const char *kind = reply->element[0]->str;
    if (strcmp(kind, "subscribe") == 0) {
        for (long number = 0; number < MESSAGES; number++) {
            redisAsyncCommand(publisher, on_publish, (void *)(size_t)number, "PUBLISH hares number:%ld", number);
        }
    } else if (strcmp(kind, "message") == 0) {
        snprintf(expected, sizeof expected, "number:%ld", messages);
        check(strcmp(reply->element[2]->str, expected) == 0, "the order of messages", messages, reply->element[2]);
        if (++messages == MESSAGES) redisAsyncCommand(context, NULL, NULL, "UNSUBSCRIBE");
    } else {
        check(strcmp(kind, "unsubscribe") == 0 && messages == MESSAGES, "UNSUBSCRIBE", messages, reply);
        redisAsyncDisconnect(context);
    }
}

static void on_connect(const redisAsyncContext *context, int status) {
    if (status != REDIS_OK) {
        printf("cannot connect: %s\n", context->errstr);
        exit(1);
    }
}

static void on_disconnect(const redisAsyncContext *context, int status) {
    check(status == REDIS_OK || (has_quit && context->data == connections), "a connection was lost", open_count, NULL);
    if (--open_count == 0) event_base_loopbreak(loop);
}

static redisAsyncContext *open_one(int port, void *data) {
    redisAsyncContext *context = redisAsyncConnect("127.0.0.1", port);
    if (!context || context->err) {
        printf("cannot connect: %s\n", context ? context->errstr : "no memory");
        exit(1);
    }
    context->data = data;
    redisLibeventAttach(context, loop);
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
    open_count++;
    return context;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int port = atoi(argv[1]);
    struct timeval limit = {SECONDS_MAX, 0};
    loop = event_base_new();
    event_base_loopexit(loop, &limit);
    for (long i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        connection->sent = connection->answered = PAIRS / CONNECTIONS * i;
        connection->end = PAIRS / CONNECTIONS * (i + 1);
        connection->context = open_one(port, connection);
        send_pairs(connection);
    }
    publisher = open_one(port, NULL);
    subscriber = open_one(port, NULL);
    redisAsyncCommand(subscriber, on_message, NULL, "SUBSCRIBE hares");
    event_base_dispatch(loop);
    for (long i = 0; i < CONNECTIONS; i++) {
        check(connections[i].answered == connections[i].end, "pairs without an answer", connections[i].answered, NULL);
    }
    check(has_quit && messages == MESSAGES, "messages that did not come", messages, NULL);
    printf("%ld checks passed\n", checks);
    return 0;
}
