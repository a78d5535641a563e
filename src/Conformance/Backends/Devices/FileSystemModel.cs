using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A file system: the work is to begin a session (FUSE_INIT), on the second ring.</summary>
internal sealed class FileSystemModel : DeviceModel
{
    private const int RequestSize = 40 + 16;
    private const int ReplySize = 16 + 64;
    private const uint Init = 26;
    private const ulong Unique = 2;

    public override string Name => "fs";

    public override int Rings => 2;

    public override int WorkRing => 1;

    // tag and num_request_queues, notify_buf_size
    public override int LeastConfiguration(VirtioFeatures features) => LastEnd(features, 40, (0, 44));

    public override Work NewWork(CaseMemory memory)
    {
        ulong request = memory.Allocate(RequestSize);
        ulong reply = memory.Allocate(ReplySize);
        memory.Write(request, (uint)RequestSize);
        memory.Write(request + 4, Init);
        memory.Write(request + 8, Unique);
        memory.Write(request + 40, 7u); // FUSE 7.31, without options
        memory.Write(request + 44, 31u);
        return new(
            [new(request, RequestSize, false), new(reply, ReplySize, true)],
            _ => Expect.Equal(Unique, memory.Read<ulong>(reply + 8), "the request that the FUSE reply names"));
    }
}
