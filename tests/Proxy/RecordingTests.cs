using System.Buffers.Binary;
using System.Text;
using Vhost.Protocol;

namespace Vhost.Proxy.Tests;

/// <summary>What a recording keeps, and what is said of one that makes no sense.</summary>
public sealed class RecordingTests
{
    private static readonly ProxyDescriptorKind[] _kinds = Enum.GetValues<ProxyDescriptorKind>();

    [Fact]
    public void What_was_written_is_read_back()
    {
        Random random = new(7);
        ProxyMessage[] messages = [.. Enumerable.Range(1, 200).Select(number => Any(number, random))];
        using MemoryStream stream = new();
        RecordingWriter writer = new(stream);
        foreach (ProxyMessage message in messages.OrderBy(_ => random.Next()))
            writer.Write(message);

        IReadOnlyList<ProxyMessage> read = RecordingReader.Read(new StringReader(Encoding.UTF8.GetString(stream.ToArray())));

        read.Should().HaveCount(messages.Length);
        foreach ((ProxyMessage was, ProxyMessage now) in messages.Zip(read))
        {
            now.Payload.ToArray().Should().Equal(was.Payload.ToArray());
            now.Descriptors.Should().Equal(was.Descriptors);
            (now with { Payload = default, Descriptors = [] }).Should().Be(was with { Payload = default, Descriptors = [] });
        }
    }

    [Fact]
    public void One_that_was_cut_off_anywhere_is_good_up_to_there()
    {
        using MemoryStream stream = new();
        RecordingWriter writer = new(stream);
        writer.Write(Any(1, new Random(1)));
        int whole = (int)stream.Length;
        writer.Write(Any(2, new Random(2)));
        byte[] bytes = stream.ToArray();
        for (int length = whole; length < bytes.Length; length++)
        {
            int read = RecordingReader.Read(new StringReader(Encoding.UTF8.GetString(bytes.AsSpan(0, length)))).Count;
            read.Should().Be(length < bytes.Length - 1 ? 1 : 2, "{0} bytes are there", length);
        }
    }

    [Fact]
    public void A_capture_leaves_out_what_Wireshark_would_not_read()
    {
        using MemoryStream stream = new();
        PcapNgWriter writer = new(stream, DateTimeOffset.UnixEpoch);
        writer.Write(Any(1, new Random(1)) with { Payload = new byte[300_000] });
        byte[] body = Blocks(stream.ToArray())[2].Body;
        (BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(12)), BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(16))).Should().Be((262_144, 300_020));
    }

    [Theory]
    [InlineData("", "empty")]
    [InlineData("{}", "line 1*format ''")]
    [InlineData("""{"format":"vhost-user recording","version":2}""", "line 1*version 2: only*version 1")]
    [InlineData("not json", "line 1")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"side","from":"front-end"}
        """, "line 2*channel 'side' is none of main, back-end, gpu")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"main","from":"me"}
        """, "line 2*from 'me'")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"main","from":"front-end","payload":"0"}
        """, "line 2")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"main","from":"front-end","descriptors":[{"kind":"door"}]}
        """, "line 2*kind 'door'")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"main","from":"front-end","descriptors":[null]}
        """, "line 2*a descriptor is null")]
    [InlineData("""
        {"format":"vhost-user recording","version":1}
        {"number":1,"session":1,"channel":"main","from":"front-end","microseconds":9223372036854775807}
        """, "line 2")]
    public void One_that_makes_no_sense_says_where(string text, string why) =>
        FluentActions.Invoking(() => RecordingReader.Read(new StringReader(text))).Should().Throw<InvalidDataException>().WithMessage($"*{why}*");

    [Fact]
    public void A_capture_has_each_message_with_its_time_and_its_eight_bytes_before()
    {
        DateTimeOffset began = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
        ProxyMessage[] messages = [.. Enumerable.Range(1, 20).Select(number => Any(number, new Random(number)))];
        using MemoryStream stream = new();
        PcapNgWriter writer = new(stream, began);
        foreach (ProxyMessage message in messages)
            writer.Write(message);

        List<(uint Type, byte[] Body)> blocks = Blocks(stream.ToArray());

        blocks.Select(static block => block.Type).Should().Equal([0x0A0D0D0A, 1, .. Enumerable.Repeat(6u, messages.Length)]);
        foreach ((ProxyMessage message, (_, byte[] body)) in messages.Zip(blocks.Skip(2)))
        {
            ulong at = ((ulong)BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(4)) << 32) | BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(8));
            at.Should().Be((ulong)(began + message.At - DateTimeOffset.UnixEpoch).Ticks * 100);
            int length = BinaryPrimitives.ReadInt32LittleEndian(body.AsSpan(12));
            byte[] packet = body[20..(20 + length)];
            packet[..4].Should().Equal(1, (byte)message.Channel, (byte)message.From, (byte)message.Descriptors.Count);
            BinaryPrimitives.ReadInt32LittleEndian(packet.AsSpan(4)).Should().Be(message.Session);
            VhostUserHeader.TryRead(packet.AsSpan(8), out VhostUserHeader header).Should().BeTrue();
            header.Should().Be(message.Header);
            packet[20..].Should().Equal(message.Payload.ToArray());
        }
    }

    private static List<(uint Type, byte[] Body)> Blocks(ReadOnlySpan<byte> file)
    {
        List<(uint Type, byte[] Body)> blocks = [];
        while (!file.IsEmpty)
        {
            int length = BinaryPrimitives.ReadInt32LittleEndian(file[4..]);
            (length % 4).Should().Be(0);
            BinaryPrimitives.ReadInt32LittleEndian(file[(length - 4)..]).Should().Be(length);
            blocks.Add((BinaryPrimitives.ReadUInt32LittleEndian(file), file[8..(length - 4)].ToArray()));
            file = file[length..];
        }

        return blocks;
    }

    private static ProxyMessage Any(int number, Random random)
    {
        byte[] payload = new byte[random.Next(50)];
        random.NextBytes(payload);
        return new ProxyMessage
        {
            Number = number,
            Session = 1 + random.Next(3),
            Channel = (VhostUserChannel)random.Next(3),
            From = (ProxySide)random.Next(2),
            Header = new VhostUserHeader((uint)random.Next(100), (VhostUserHeaderFlags)(uint)random.Next(16), (uint)random.Next()),
            Payload = payload,
            Descriptors = [.. Enumerable.Range(0, random.Next(4)).Select(_ => new ProxyDescriptor(_kinds[random.Next(_kinds.Length)], (ulong)random.NextInt64(), (ulong)random.NextInt64()))],
            At = TimeSpan.FromMicroseconds(random.NextInt64(1L << 40)),
            Answers = random.Next(2) == 0 ? null : random.NextInt64(),
            Fault = random.Next(4) == 0 ? "drop@SET_OWNER" : "",
        };
    }
}
