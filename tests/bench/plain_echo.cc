// An echo server on libuv's own streams, as one writes it without this project.
#include <netinet/in.h>
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

// A connection, its input, and the reply that is under way (its client waits for it).
struct Client {
  uv_tcp_t handle;
  uv_write_t write;
  char input[65536];
  std::string reply;
};

void Close(uv_handle_t* handle) {
  if (uv_is_closing(handle) != 0) return;
  uv_close(handle, [](uv_handle_t* closed) { delete static_cast<Client*>(closed->data); });
}

void OnRead(uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
  auto* client = static_cast<Client*>(stream->data);
  if (size < 0) return Close(reinterpret_cast<uv_handle_t*>(stream));
  if (size == 0) return;
  uv_buf_t input = uv_buf_init(buffer->base, static_cast<unsigned>(size));
  const int written = uv_try_write(stream, &input, 1);
  if (written == size) return;
  client->reply.assign(buffer->base + (written > 0 ? written : 0), buffer->base + size);
  uv_buf_t rest = uv_buf_init(client->reply.data(), static_cast<unsigned>(client->reply.size()));
  uv_write(&client->write, stream, &rest, 1, nullptr);
}

void OnConnection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* client = new Client;
  uv_tcp_init(listener->loop, &client->handle);
  client->handle.data = client;
  auto* stream = reinterpret_cast<uv_stream_t*>(&client->handle);
  if (uv_accept(listener, stream) != 0) return Close(reinterpret_cast<uv_handle_t*>(stream));
  uv_tcp_nodelay(&client->handle, 1);
  uv_read_start(
      stream,
      [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
        auto* reader = static_cast<Client*>(handle->data);
        *buffer = uv_buf_init(reader->input, sizeof(reader->input));
      },
      OnRead);
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  uv_tcp_t listener;
  sockaddr_in address;
  uv_tcp_init(uv_default_loop(), &listener);
  uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0, &address);
  uv_tcp_bind(&listener, reinterpret_cast<sockaddr*>(&address), 0);
  const int error = uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 511, OnConnection);
  if (error != 0) {
    fprintf(stderr, "plain_echo: %s\n", uv_strerror(error));
    return 1;
  }
  int size = sizeof(address);
  uv_tcp_getsockname(&listener, reinterpret_cast<sockaddr*>(&address), &size);
  printf("listening on tcp 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
