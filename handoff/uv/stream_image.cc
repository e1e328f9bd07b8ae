#include "handoff/uv/stream_image.h"

#include <capnp/blob.h>
#include <capnp/list.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/uv/byte_queue.h"

namespace liveexec::uv {
namespace {

// A Cap'n Proto blob ends at 512 MiB: longer sequences of bytes are several.
constexpr size_t kPieceSize = 256 << 20;

template <typename InitList>
void SaveBytes(std::string_view bytes, InitList init_list) {
  if (bytes.empty()) return;
  const size_t count = (bytes.size() + kPieceSize - 1) / kPieceSize;
  auto pieces = init_list(static_cast<unsigned>(count));
  for (size_t i = 0; i < count; ++i) {
    const std::string_view piece = bytes.substr(i * kPieceSize, kPieceSize);
    pieces.set(static_cast<unsigned>(i),
               capnp::Data::Reader(reinterpret_cast<const kj::byte*>(piece.data()), piece.size()));
  }
}

void LoadBytes(capnp::List<capnp::Data>::Reader pieces, ByteQueue& queue) {
  for (capnp::Data::Reader piece : pieces) {
    queue.Append({reinterpret_cast<const char*>(piece.begin()), piece.size()});
  }
}

}  // namespace

absl::Status StreamImage::Save(const Stream& stream, image::Stream::Builder record,
                               ExportContext& context) {
  LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("stream", stream.id_, stream.fd()));
  return Save(stream, record);
}

absl::Status StreamImage::Save(const Stream& stream, image::Stream::Builder record) {
  record.setId(stream.id_);
  record.setListener(stream.listener_);
  SaveBytes(stream.in_.view(), [&](unsigned count) { return record.initUnread(count); });
  SaveBytes(stream.out_.view(), [&](unsigned count) { return record.initUnsent(count); });
  record.setOpened(!stream.Is(Stream::kNotOpened));
  record.setPaused(stream.Is(Stream::kPaused));
  record.setEnded(stream.Is(Stream::kEnded));
  record.setCloseAfterFlush(stream.Is(Stream::kCloseAfterFlush));
  record.setShutdownWanted(stream.Is(Stream::kShutdownWanted));
  record.setShutdownDone(stream.Is(Stream::kShutdownDone));
  record.setWasCold(stream.Is(Stream::kWasCold));
  // A handler that has not been told of its connection has nothing to say.
  if (stream.Is(Stream::kNotOpened)) return absl::OkStatus();
  return Annotate(stream.handler_->Save(record.initState()), absl::StrCat("stream ", stream.id_));
}

absl::Status StreamImage::Load(Stream& stream, image::Stream::Reader record) {
  LoadBytes(record.getUnread(), stream.in_);
  LoadBytes(record.getUnsent(), stream.out_);
  if (!stream.out_.empty()) stream.Set(Stream::kDrainDue);
  if (record.getOpened()) stream.Unset(Stream::kNotOpened);
  if (record.getPaused()) stream.Set(Stream::kPaused);
  if (record.getEnded()) stream.Set(Stream::kEnded);
  if (record.getCloseAfterFlush()) stream.Set(Stream::kCloseAfterFlush);
  if (record.getShutdownWanted()) stream.Set(Stream::kShutdownWanted);
  if (record.getShutdownDone()) stream.Set(Stream::kShutdownDone);
  if (record.getWasCold()) stream.Set(Stream::kWasCold);
  if (!record.hasState()) return absl::OkStatus();
  return Annotate(stream.handler_->Load(record.getState()), absl::StrCat("stream ", stream.id_));
}

}  // namespace liveexec::uv
