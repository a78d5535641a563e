namespace Vhost.Protocol.Tests;

public sealed class CryptoSessionTests
{
    private static readonly VhostUserCryptoParameters _parameters = new(1, 99, 3, 4, 99, 6, 7, 8, 9, 10);
    private static readonly byte[] _cipherKey = [.. Enumerable.Range(1, 64).Select(i => (byte)i)];
    private static readonly byte[] _authenticationKey = [.. Enumerable.Range(1, 512).Select(i => (byte)(i * 7))];

    [Theory]
    [InlineData(VhostUserCryptoLayout.WithOperation, 632, 8, 12, 0)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 632, -1, 8, 0)]
    [InlineData(VhostUserCryptoLayout.Wide, 1072, 0, 8, 1064)]
    public void Every_layout_has_its_fields_in_place(VhostUserCryptoLayout layout, int size, int operationAt, int parametersAt, int sessionAt)
    {
        byte[] bytes = new byte[size];
        bytes.AsSpan().Fill(0xa5);
        VhostUserCryptoSession.Write(layout, 0x102, _parameters, _cipherKey, _authenticationKey, bytes).Should().Be(size);
        VhostUserCryptoSession.WriteSessionId(bytes, -2);
        if (operationAt >= 0)
            BitConverter.ToUInt32(bytes, operationAt).Should().Be(0x102);
        uint[] words = [.. Enumerable.Range(0, 6).Select(i => BitConverter.ToUInt32(bytes, parametersAt + 4 * i))];
        words.Should().Equal(1, 64, 3, 4, 512, 6);
        bytes[(parametersAt + 24)..(parametersAt + 28)].Should().Equal(7, 8, 9, 10);
        bytes[56..120].Should().Equal(_cipherKey);
        bytes[120..632].Should().Equal(_authenticationKey);
        BitConverter.ToInt64(bytes, sessionAt).Should().Be(-2);
        VhostUserCryptoSession.TryReadSessionId(bytes, out long id).Should().BeTrue();
        id.Should().Be(-2);
    }

    [Theory]
    [InlineData(VhostUserCryptoLayout.WithOperation)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation)]
    [InlineData(VhostUserCryptoLayout.Wide)]
    public void Every_layout_is_read_back_and_no_other_size_is(VhostUserCryptoLayout layout)
    {
        byte[] bytes = new byte[1100];
        int size = VhostUserCryptoSession.Write(layout, 0x102, _parameters, _cipherKey, _authenticationKey.AsSpan(0, 20), bytes);
        for (int given = 0; given <= bytes.Length; given++)
            VhostUserCryptoSession.TryRead(bytes.AsSpan(0, given), layout, out _).Should().Be(given == size);
        VhostUserCryptoSession.TryRead(bytes.AsSpan(0, size), layout, out VhostUserCryptoSession session);
        session.Layout.Should().Be(layout);
        session.Operation.Should().Be(layout == VhostUserCryptoLayout.WithoutOperation ? 0u : 0x102u);
        session.Parameters.Should().Be(_parameters with { CipherKeyLength = 64, AuthenticationKeyLength = 20 });
        session.CipherKey.ToArray().Should().Equal(_cipherKey);
        session.AuthenticationKey.ToArray().Should().Equal(_authenticationKey[..20]);
        session.SessionId.Should().Be(0);
    }

    [Theory]
    [InlineData(VhostUserCryptoLayout.WithOperation, 16)]
    [InlineData(VhostUserCryptoLayout.WithoutOperation, 12)]
    [InlineData(VhostUserCryptoLayout.Wide, 12)]
    public void B35_giant_key_lengths_are_refused(VhostUserCryptoLayout layout, int cipherLengthAt)
    {
        foreach (uint length in new uint[] { 65, 0x7fffffff, 0x80000000, uint.MaxValue })
        {
            byte[] bytes = new byte[VhostUserCryptoSession.EncodedSizeOf(layout)];
            BitConverter.TryWriteBytes(bytes.AsSpan(cipherLengthAt), length);
            VhostUserCryptoSession.TryRead(bytes, layout, out _).Should().BeFalse();
            bytes.AsSpan().Clear();
            BitConverter.TryWriteBytes(bytes.AsSpan(cipherLengthAt + 12), length + 512);
            VhostUserCryptoSession.TryRead(bytes, layout, out _).Should().Be(length + 512 < 512);
        }
    }

    [Fact]
    public void Keys_that_do_not_fit_are_not_written()
    {
        byte[] bytes = new byte[1072];
        Writing(new byte[65], []).Should().Throw<ArgumentException>();
        Writing([], new byte[513]).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => VhostUserCryptoSession.WriteSessionId(new byte[8], 1)).Should().Throw<ArgumentException>();
        VhostUserCryptoSession.TryReadSessionId(new byte[8], out _).Should().BeFalse();

        Action Writing(byte[] cipher, byte[] authentication) =>
            () => VhostUserCryptoSession.Write(VhostUserCryptoLayout.Wide, 0, _parameters, cipher, authentication, bytes);
    }

    [Fact]
    public void An_asymmetric_session_has_its_key_at_40()
    {
        byte[] key = [.. Enumerable.Range(0, 1024).Select(i => (byte)i)];
        byte[] bytes = new byte[1072];
        VhostUserAsymmetricSession.Write(1, 2, 3, 4, key, bytes).Should().Be(1072);
        BitConverter.ToUInt64(bytes, 0).Should().Be(0x404);
        bytes[40..1064].Should().Equal(key);
        VhostUserCryptoSession.WriteSessionId(bytes, 77);
        VhostUserAsymmetricSession.TryRead(bytes, out VhostUserAsymmetricSession session).Should().BeTrue();
        session.Algorithm.Should().Be(1);
        session.KeyType.Should().Be(2);
        session.PaddingAlgorithm.Should().Be(3);
        session.HashAlgorithm.Should().Be(4);
        session.SessionId.Should().Be(77);
        session.Key.ToArray().Should().Equal(key);
        FluentActions.Invoking(() => VhostUserAsymmetricSession.Write(1, 2, 3, 4, new byte[1025], bytes)).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void B35_an_asymmetric_key_longer_than_its_place_is_refused()
    {
        byte[] bytes = new byte[1072];
        VhostUserAsymmetricSession.Write(1, 2, 3, 4, [], bytes);
        BitConverter.TryWriteBytes(bytes.AsSpan(16), 1025u);
        VhostUserAsymmetricSession.TryRead(bytes, out _).Should().BeFalse();
        BitConverter.TryWriteBytes(bytes.AsSpan(16), 1024u);
        VhostUserAsymmetricSession.TryRead(bytes, out _).Should().BeTrue();
        VhostUserAsymmetricSession.TryRead(bytes.AsSpan(0, 1071), out _).Should().BeFalse();
        bytes[0] = 2;
        VhostUserAsymmetricSession.TryRead(bytes, out _).Should().BeFalse();
    }
}
