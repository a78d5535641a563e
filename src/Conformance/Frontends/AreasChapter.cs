using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a back-end could do with the memory that it is given, and areas that are not what it says (F17, F18).</summary>
internal static class AreasChapter
{
    private const ulong Page = 4096;

    public static FrontendChapter Cases { get; } = new("areas", "vhost-user: Inflight I/O tracking")
    {
        { "f17-shrink", Robustness, "Shared memory is sealed, so that a back-end cannot make it smaller", ShrinkAsync, "", "vhost-user: Memory regions description" },
        { "f18-inflight-size", Robustness, "An in-flight area that is larger than its file does no harm", static peer => InflightAsync(peer, static asked => asked with { MmapSize = 1 << 24 }) },
        { "f18-inflight-offset", Robustness, "An in-flight area that begins beyond its file does no harm", static peer => InflightAsync(peer, static asked => asked with { MmapSize = Page, MmapOffset = ulong.MaxValue - Page + 1 }) },
        { "f18-inflight-empty", Robustness, "An in-flight area of no bytes does no harm", static peer => InflightAsync(peer, static asked => asked with { MmapSize = 0 }) },
        { "f04-inflight-missing", Robustness, "An in-flight area without a descriptor does no harm", static peer => InflightAsync(peer, static asked => asked with { MmapSize = Page }, withFile: false) },
    };

    /// <summary>A front-end whose memory can be made smaller is at the mercy of its back-end; whether it is, the suite does not try on a living one.</summary>
    private static async Task ShrinkAsync(FrontendPeer peer)
    {
        bool? sealedAll = null;
        peer.Script.Instead = (_, message) =>
        {
            if (message.Header.Request is (uint)VhostUserRequest.SetMemTable or (uint)VhostUserRequest.AddMemReg)
                sealedAll = sealedAll is not false && message.Descriptors.All(IsSealed);
            return Task.FromResult(false);
        };
        await peer.ServedAsync().ConfigureAwait(false);
        if (sealedAll is not true)
            throw Expect.Skipped("the memory of the front-end is not sealed: it could be made smaller");
    }

    private static bool IsSealed(SafeFileHandle file)
    {
        try
        {
            using SharedMemory mapped = SharedMemory.Map(Libc.Duplicate(file), 0, DescriptorInfo.FileSize(file), requireSealed: true);
            return true;
        }
        catch (Exception refused) when (refused is VhostUserException or LinuxException)
        {
            return false;
        }
    }

    private static async Task InflightAsync(FrontendPeer peer, Func<VhostUserInflight, VhostUserInflight> lie, bool withFile = true)
    {
        bool asked = false;
        peer.Script.Protocol |= VhostUserProtocolFeatures.InflightShmFd;
        peer.Script.On(VhostUserRequest.GetInflightFd, async (peer, message) =>
        {
            asked = true;
            _ = VhostUserInflight.TryRead(message.Payload, out VhostUserInflight area);
            byte[] reply = new byte[VhostUserInflight.Size];
            lie(area).Write(reply);
            SharedMemory file = peer.Own(SharedMemory.CreateSealed("area", Page));
            if (withFile)
                await peer.ReplyAsync(message, reply, file.Descriptor).ConfigureAwait(false);
            else
                await peer.ReplyAsync(message, reply).ConfigureAwait(false);
        });
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
        if (!asked)
            throw Expect.Skipped("the front-end does not ask for an in-flight area");
    }
}
