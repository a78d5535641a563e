using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>What became of a request.</summary>
/// <param name="IsDone">It was carried out.</param>
/// <param name="Payload">Its own reply; null: an acknowledgement at most.</param>
/// <param name="Memory">Its descriptor goes with the reply; closed afterwards.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct HandAnswer(bool IsDone, byte[]? Payload = null, SharedMemory? Memory = null)
{
    public static HandAnswer Done => new(IsDone: true);

    public static HandAnswer Refused => new(IsDone: false);

    public static HandAnswer If(bool done) => new(done);

    public static HandAnswer Reply(ulong value) => Reply(new VhostUserU64(value));

    public static HandAnswer Reply<T>(T value, SharedMemory? memory = null)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] payload = new byte[value.EncodedSize];
        value.Write(payload);
        return new HandAnswer(IsDone: true, payload, memory);
    }
}
