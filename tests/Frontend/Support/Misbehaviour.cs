using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>What a bad back-end does instead of answering.</summary>
internal abstract record Misbehaviour
{
    public static Misbehaviour Nothing { get; } = new Hang();

    public static Misbehaviour Death { get; } = new Die();

    /// <summary>A message of any header and payload.</summary>
    public static Misbehaviour Message(uint code, uint flags, byte[] payload, uint? size = null, params SafeHandle[] descriptors)
    {
        byte[] bytes = [.. BitConverter.GetBytes(code), .. BitConverter.GetBytes(flags), .. BitConverter.GetBytes(size ?? (uint)payload.Length), .. payload];
        return new Say([bytes], descriptors);
    }

    public static Misbehaviour Reply(VhostUserRequest code, byte[] payload, params SafeHandle[] descriptors) =>
        Message((uint)code, 0x5, payload, size: null, descriptors);

    /// <summary>A correct reply, one byte a write.</summary>
    public static Misbehaviour ByteByByte(VhostUserRequest code, byte[] payload)
    {
        byte[] bytes = [.. BitConverter.GetBytes((uint)code), .. BitConverter.GetBytes(5u), .. BitConverter.GetBytes((uint)payload.Length), .. payload];
        return new Say([.. bytes.Select(one => new[] { one })], []);
    }

    /// <summary>Says nothing, keeps the connection.</summary>
    internal sealed record Hang : Misbehaviour;

    /// <summary>Closes the connection.</summary>
    internal sealed record Die : Misbehaviour;

    /// <summary>Sends these bytes as they are.</summary>
    internal sealed record Say(byte[][] Pieces, SafeHandle[] Descriptors) : Misbehaviour
    {
        public async ValueTask SendAsync(VhostUserConnection connection)
        {
            for (int i = 0; i < Pieces.Length; i++)
                await connection.SendRawAsync(Pieces[i], i == 0 ? Descriptors : default(ReadOnlyMemory<SafeHandle>));
        }
    }
}
