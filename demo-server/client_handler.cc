#include "demo-server/client_handler.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <mutex>
#include <utility>

#include "core/error.h"

namespace liveexec::demo {
namespace {

// Our own end, as CLIENT LIST shows it. Empty when the kernel does not say.
std::string LocalName(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char host[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    return std::string(host) + ":" + std::to_string(ntohs(in->sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
    return "[" + std::string(host) + "]:" + std::to_string(ntohs(in->sin6_port));
  }
  return "";
}

}  // namespace

ClientHandler::ClientHandler(uv::Stream& stream, Shared& shared, std::string unix_path)
    : stream_(stream), shared_(shared), unix_path_(std::move(unix_path)) {
  session_.owner = this;
  session_.loop = shared.loop;
  session_.fd = stream.fd();
}

void ClientHandler::OnOpen(uv::Stream& stream) {
  if (unix_path_.empty()) {
    session_.address = stream.peer_name();
    session_.local_address = LocalName(stream.fd());
  } else {
    session_.address = unix_path_ + ":0";
    session_.local_address = session_.address;
  }
  known_ = shared_.engine->Open(session_);
  if (!known_) Flush();
}

size_t ClientHandler::OnInput(uv::Stream& stream, std::string_view input) {
  if (waits_for_everyone_) return 0;
  const Engine::Progress progress = shared_.engine->Process(session_, input, shared_.output);
  Send(progress.output);
  if (progress.needs_everyone) {
    CallEveryone();
  } else if (stream.ended()) {
    stream.CloseAfterFlush();  // the end came while it waited
  }
  if (progress.wanted > 0) stream.WantInput(progress.wanted);
  if (progress.others_pending) FlushPending(*shared_.engine, shared_.loop);
  return progress.consumed;
}

// Its next command looks at all clients. What they are put aside for is an upgrade, which may come
// meanwhile: then the next program finds the command unread, and begins anew.
void ClientHandler::CallEveryone() {
  waits_for_everyone_ = true;
  Shared& shared = shared_;
  shared.connections->TakeBack(*shared.executor, [&shared, id = stream_.id()] {
    uv::Stream* stream = shared.connections->Find(*shared.executor, id);
    if (stream != nullptr) static_cast<ClientHandler&>(stream->handler()).OnEveryoneHere();
  });
}

void ClientHandler::OnEveryoneHere() {
  waits_for_everyone_ = false;
  shared_.engine->AllAreHere(session_);
  OfferAgain();
}

void ClientHandler::OfferAgain() {
  if (stream_.unread().empty() || stream_.reading_paused()) return;
  stream_.PauseReading();
  stream_.ResumeReading();
}

void ClientHandler::Flush() { Send(shared_.engine->TakeOutput(session_, shared_.output)); }

void ClientHandler::Send(const Engine::Output& what) {
  if (!shared_.output.empty() && !stream_.Write(shared_.output).ok() && !stream_.closed()) {
    // Broken, and about to be closed; or quiesced, and to be carried.
    shared_.engine->ReturnOutput(session_, shared_.output);
  }
  const bool reads_too_little =
      shared_.engine->ExceedsOutputLimit(session_, stream_.pending_output());
  if (what.close_now || reads_too_little) {
    stream_.Close();
  } else if (what.close_after_output) {
    stream_.CloseAfterFlush();
  } else if (what.resume_input) {
    OfferAgain();  // what came while the session waited
  }
}

void ClientHandler::OnEnd(uv::Stream& stream) {
  if (shared_.engine->PeerEnded(session_)) {
    stream.Close();
  } else if (!waits_for_everyone_) {
    stream.CloseAfterFlush();
  }
}

void ClientHandler::OnClose(uv::Stream& /*stream*/) {
  if (known_) shared_.engine->Close(session_);
  known_ = false;
}

absl::Status ClientHandler::Save(capnp::AnyPointer::Builder state) const {
  if (!known_) return absl::OkStatus();  // not opened yet: the next program will
  std::lock_guard lock(shared_.engine->mutex());
  shared_.format->WriteSession(session_, state);
  return absl::OkStatus();
}

absl::Status ClientHandler::Load(capnp::AnyPointer::Reader state) {
  std::lock_guard lock(shared_.engine->mutex());
  LIVEEXEC_RETURN_IF_ERROR(shared_.format->ReadSession(state, *shared_.engine, session_));
  shared_.engine->Adopt(session_);
  known_ = true;
  return absl::OkStatus();
}

bool ClientHandler::MayGoCold() const { return known_ && shared_.engine->MayGoAside(session_); }

void ClientHandler::OnCold(uv::Stream& /*stream*/) {
  shared_.engine->Close(session_);
  known_ = false;
}

void FlushPending(Engine& engine, int loop) {
  while (Session* session = engine.TakePending(loop)) {
    static_cast<ClientHandler*>(session->owner)->Flush();
  }
}

}  // namespace liveexec::demo
