using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>The life of a front-end, message by message.</summary>
internal static class FrontendSteps
{
    public const int Count = 13;

    public static IEnumerable<Func<Task>> All(RawFrontend frontend, TestGuest guest, TestRing ring)
    {
        const VhostUserProtocolFeatures protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots;
        const VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures;
        byte[] state = RawFrontend.State(0, TestRing.Size);
        yield return () => frontend.SendAsync(VhostUserRequest.SetOwner);
        yield return () => frontend.AskU64Async(VhostUserRequest.GetFeatures);
        yield return () => frontend.SendAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64((ulong)protocol));
        yield return () => frontend.SendAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)features));
        yield return () => frontend.AddMemoryAsync(guest);
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringNum, state);
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0));
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), ring.Call.Descriptor);
        yield return () => frontend.KickAsync(ring);
        yield return () => frontend.EnableAsync(ring);
        yield return () =>
        {
            ring.StartAt(0);
            ring.SubmitAndKick(1);
            return Task.CompletedTask;
        };
        yield return () => frontend.SendAsync(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0));
    }
}
