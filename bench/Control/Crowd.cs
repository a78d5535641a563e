using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using Vhost.Protocol;

namespace Vhost.Bench.Control;

/// <summary>
/// Many front-ends at once, each with a back-end of its own: every one sends a hundred messages a second, good ones or bad ones, and connects again when it is thrown out. On one thread, with plain sockets, so
/// that the crowd itself costs little.
/// </summary>
internal sealed class Crowd : IDisposable
{
    private const int MessagesPerSecond = 100;
    private const uint Version = 1;
    private const uint ReplyFlag = 4;

    private readonly Socket?[] _sockets;
    private readonly UnixDomainSocketEndPoint[] _places;
    private readonly byte[][] _messages;
    private readonly byte[] _answers = new byte[4096];
    private long _sent;
    private long _thrownOut;
    private long _answered;

    private Crowd(string prefix, int count, bool bad)
    {
        _sockets = new Socket?[count];
        _places = [.. Enumerable.Range(0, count).Select(i => new UnixDomainSocketEndPoint(string.Create(CultureInfo.InvariantCulture, $"{prefix}{i}")))];
        _messages = bad ? BadOnes() : [Message((uint)VhostUserRequest.GetFeatures, Version)];
    }

    /// <summary>Runs until told to end.</summary>
    /// <param name="prefix">Path of the back-ends' sockets without their numbers, 0 and up.</param>
    /// <param name="count">How many front-ends.</param>
    /// <param name="bad">Whether they misbehave.</param>
    /// <param name="stop">Ends it.</param>
    /// <returns>What came of it, as JSON.</returns>
    internal static string Run(string prefix, int count, bool bad, CancellationToken stop)
    {
        using Crowd crowd = new(prefix, count, bad);
        for (int i = 0; i < count; i++)
            crowd.Connect(i);
        Console.Error.WriteLine("the crowd is there");
        double seconds = crowd.Run(stop);
        return string.Create(
            CultureInfo.InvariantCulture,
            $$"""{"front_ends":{{count}},"messages_per_second":{{crowd._sent / seconds:0}},"thrown_out_per_second":{{crowd._thrownOut / seconds:0}},"answered_per_second":{{crowd._answered / seconds:0}}}""");
    }

    public void Dispose()
    {
        foreach (Socket? socket in _sockets)
            socket?.Dispose();
    }

    private double Run(CancellationToken stop)
    {
        long started = Stopwatch.GetTimestamp();
        double rate = _sockets.Length * MessagesPerSecond;
        while (!stop.IsCancellationRequested)
        {
            for (long due = (long)(Stopwatch.GetElapsedTime(started).TotalSeconds * rate); _sent < due; _sent++)
                Say((int)(_sent % _sockets.Length), _messages[_sent / _sockets.Length % _messages.Length]);
            Thread.Sleep(1);
        }

        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    private void Say(int member, byte[] message)
    {
        try
        {
            Listen(member);
            (_sockets[member] ?? Connect(member))?.Send(message);
        }
        catch (SocketException)
        {
            ThrownOut(member);
        }
    }

    /// <summary>Takes what was answered, and sees whether the connection has ended.</summary>
    private void Listen(int member)
    {
        if (_sockets[member] is not { } socket || !socket.Poll(0, SelectMode.SelectRead))
            return;
        if (socket.Receive(_answers) > 0)
            _answered++;
        else
            ThrownOut(member);
    }

    private void ThrownOut(int member)
    {
        _sockets[member]?.Dispose();
        _sockets[member] = null;
        _thrownOut++;
    }

    /// <summary>Null when too many wait already.</summary>
    private Socket? Connect(int member)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
        try
        {
            socket.Connect(_places[member]);
            return _sockets[member] = socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
    }

    /// <summary>Of each kind of rule that a message can break one.</summary>
    private static byte[][] BadOnes() =>
    [
        Message(999, Version),
        Message((uint)VhostUserRequest.SetVringNum, Version, [1, 2, 3]),
        Message((uint)VhostUserRequest.GetFeatures, Version + 1),
        Message((uint)VhostUserRequest.GetFeatures, Version | ReplyFlag),
        Message((uint)VhostUserRequest.SetFeatures, Version, [.. Enumerable.Repeat((byte)0xFF, sizeof(ulong))]),
        Message((uint)VhostUserRequest.SetMemTable, Version, [1, .. new byte[39]]),
        Message((uint)VhostUserRequest.SetVringAddr, Version, [.. Enumerable.Repeat((byte)0x41, 40)]),
        Message((uint)VhostUserRequest.SetVringKick, Version, [77, .. new byte[7]]),
        [.. Message((uint)VhostUserRequest.GetConfig, Version).AsSpan(0, 8), 0xFF, 0xFF, 0xFF, 0xFF],
        RandomNumberGenerator.GetBytes(32),
    ];

    private static byte[] Message(uint request, uint flags, params byte[] payload)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, request);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), flags);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), payload.Length);
        payload.CopyTo(bytes, VhostUserHeader.EncodedSize);
        return bytes;
    }
}
