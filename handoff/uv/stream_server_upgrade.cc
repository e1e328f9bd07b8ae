// The part of StreamServer that an upgrade calls.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/listener.h"
#include "handoff/uv/server_loop.h"
#include "handoff/uv/stream_image.h"
#include "handoff/uv/stream_server.h"

namespace liveexec::uv {

void StreamServer::Precopy(const Successor&, absl::AnyInvocable<void(absl::Status) &&> done) {
  if (!serving_ || size() < options_.cold_threshold) return std::move(done)(absl::OkStatus());
  struct Progress {
    std::atomic<size_t> left;
    absl::AnyInvocable<void(absl::Status) &&> done;
  };
  auto progress = std::make_shared<Progress>();
  progress->left = loops_.size();
  progress->done = std::move(done);
  cooled_ = true;
  for (auto& loop : loops_) {
    loop->executor.Post([streams = loop->streams, progress] {
      streams->Cool([progress] {
        if (--progress->left == 0) std::move(progress->done)(absl::OkStatus());
      });
    });
  }
}

void StreamServer::AbandonPrecopy() {
  if (!std::exchange(cooled_, false)) return;
  for (auto& loop : loops_) {
    loop->executor.Post([streams = loop->streams] { streams->Warm(); });
  }
}

absl::Status StreamServer::Quiesce() {
  quiesced_ = true;
  for (auto& loop : loops_) LIVEEXEC_RETURN_IF_ERROR(loop->streams->Quiesce());
  return absl::OkStatus();
}

void StreamServer::Resume() {
  quiesced_ = false;
  for (auto& loop : loops_) loop->streams->Resume();
}

absl::Status StreamServer::Export(ExportContext& context) const {
  auto image = context.InitRoot<image::StreamServer>();
  image.setNextId(next_id_);
  image.setLoops(static_cast<uint32_t>(loops_.size()));
  auto listeners = image.initListeners(static_cast<unsigned>(listeners_.size()));
  for (unsigned i = 0; i < listeners_.size(); ++i) {
    const Listener& listener = *listeners_[i];
    listeners[i].setPath(listener.path());
    listeners[i].setStopped(listener.fd() < 0);
    if (listener.fd() >= 0) {
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("listener", i, listener.fd()));
    }
  }
  // A rehearsal could not do anything with the sets of an upgrade before.
  if (!context.snapshot()) LIVEEXEC_RETURN_IF_ERROR(ExportColdSets(context, image));
  return ExportStreams(context, image);
}

absl::Status StreamServer::ExportColdSets(ExportContext& context,
                                          image::StreamServer::Builder image) const {
  size_t count = 0;
  for (const auto& loop : loops_) count += loop->streams->cold_sets().size();
  auto sets = image.initColdSets(static_cast<unsigned>(count));
  unsigned next = 0;
  for (uint32_t i = 0; i < loops_.size(); ++i) {
    for (const auto& set : loops_[i]->streams->cold_sets()) {
      const unsigned number = next++;
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("cold-events", number, set->events_fd()));
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("cold-escrow", number, set->escrow_fd()));
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("cold-records", number, set->records_fd()));
      sets[number].setLoop(i);
      set->Save(sets[number]);
    }
  }
  return absl::OkStatus();
}

absl::Status StreamServer::RehydrateColdSets(ImportContext& context,
                                             image::StreamServer::Reader image) {
  const auto sets = image.getColdSets();
  for (unsigned i = 0; i < sets.size(); ++i) {
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd events, context.TakeFd("cold-events", i));
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd escrow, context.TakeFd("cold-escrow", i));
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd records, context.TakeFd("cold-records", i));
    LIVEEXEC_ASSIGN_OR_RETURN(
        std::unique_ptr<ColdSet> set,
        ColdSet::Open(std::move(events), std::move(escrow), std::move(records), sets[i]));
    size_.fetch_add(set->size(), std::memory_order_relaxed);
    loops_[sets[i].getLoop() % loops_.size()]->streams->AddColdSet(std::move(set));
  }
  return absl::OkStatus();
}

absl::Status StreamServer::ExportStreams(ExportContext& context,
                                         image::StreamServer::Builder image) const {
  struct Entry {
    uint64_t id;
    uint32_t loop;
    const Stream* stream;  // null: it waits to be adopted
    const Waiting* waiting;
  };
  std::vector<Entry> entries;
  entries.reserve(size());
  for (uint32_t i = 0; i < loops_.size(); ++i) {
    Loop& loop = *loops_[i];
    for (uint64_t id : loop.streams->Ids()) {
      entries.push_back({id, i, loop.streams->Find(id), nullptr});
    }
    std::lock_guard<std::mutex> lock(loop.mutex);
    for (const Waiting& waiting : loop.waiting)
      entries.push_back({waiting.id, i, nullptr, &waiting});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.id < b.id; });
  // An orphan, because a snapshot for a rehearsal may have to cut it short.
  auto orphan =
      capnp::Orphanage::getForMessageContaining(image).newOrphan<capnp::List<image::Stream>>(
          static_cast<unsigned>(entries.size()));
  auto records = orphan.get();
  unsigned written = 0;
  for (unsigned i = 0; i < entries.size() && !context.SliceIsSpent(); written = ++i) {
    const Entry& entry = entries[i];
    image::Stream::Builder record = records[i];
    record.setLoop(entry.loop);
    if (entry.stream != nullptr) {
      LIVEEXEC_RETURN_IF_ERROR(StreamImage::Save(*entry.stream, record, context));
    } else {
      record.setId(entry.id);
      record.setListener(entry.waiting->listener);
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("stream", entry.id, entry.waiting->fd.get()));
    }
  }
  if (written < entries.size()) orphan.truncate(written);
  image.adoptStreams(std::move(orphan));
  return absl::OkStatus();
}

absl::Status StreamServer::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(const auto image, context.Root<image::StreamServer>());
  LIVEEXEC_RETURN_IF_ERROR(RehydrateListeners(context, image));
  LIVEEXEC_RETURN_IF_ERROR(RehydrateColdSets(context, image));
  next_id_ = std::max<uint64_t>(image.getNextId(), 1);
  // With as many loops as before each connection stays with its own, else they are dealt out anew.
  const bool same = image.getLoops() == loops_.size();
  for (image::Stream::Reader record : image.getStreams()) {
    const size_t index = same ? record.getLoop() : next_loop_++;
    LIVEEXEC_RETURN_IF_ERROR(RehydrateStream(context, record, *loops_[index % loops_.size()]));
  }
  return absl::OkStatus();
}

absl::Status StreamServer::RehydrateListeners(ImportContext& context,
                                              image::StreamServer::Reader image) {
  const auto listeners = image.getListeners();
  for (unsigned i = 0; i < listeners.size(); ++i) {
    UniqueFd fd;
    if (!listeners[i].getStopped()) {
      LIVEEXEC_ASSIGN_OR_RETURN(fd, context.TakeFd("listener", i));
    }
    AddListener(std::move(fd), listeners[i].getPath());
    if (listeners[i].getStopped()) continue;
    LIVEEXEC_RETURN_IF_ERROR(
        Annotate(listeners_.back()->Open(options_.loops[0]->loop()), absl::StrCat("listener ", i)));
  }
  return absl::OkStatus();
}

absl::Status StreamServer::RehydrateStream(ImportContext& context, image::Stream::Reader record,
                                           Loop& loop) {
  const uint64_t id = record.getId();
  if (id == 0 || record.getListener() >= listeners_.size()) {
    return absl::DataLossError(absl::StrCat("stream ", id, " has an impossible record"));
  }
  next_id_ = std::max(next_id_, id + 1);
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("stream", id));
  size_.fetch_add(1, std::memory_order_relaxed);
  auto stream = loop.streams->Adopt(std::move(fd), record);
  if (!stream.ok() && loop.streams->Find(id) == nullptr) size_.fetch_sub(1);
  return stream.status();
}

void StreamServer::Activate() {
  serving_ = true;
  for (auto& listener : listeners_) {
    if (listener->fd() >= 0) listener->Start().IgnoreError();
  }
  loops_[0]->streams->Serve();
  if (options_.fd_store) {
    // After the blackout.
    loops_[0]->executor.Post([self = self_] {
      if (*self != nullptr) (*self)->KeepListeners();
    });
  }
  for (size_t i = 1; i < loops_.size(); ++i) {
    // On its own thread: in a fresh start the loop is running already.
    loops_[i]->executor.Post([streams = loops_[i]->streams] { streams->Serve(); });
  }
}

}  // namespace liveexec::uv
