namespace Vhost.Protocol.Tests;

public sealed class ErrorTests
{
    [Fact]
    public void Every_exception_of_a_session_has_one_root_and_says_whether_to_reconnect()
    {
        VhostUserException[] all =
        [
            new VhostUserException("x"),
            new VhostUserProtocolException(VhostUserViolation.BadVersion, "x"),
            new VhostUserRejectedException("x", 7),
            new VhostUserFeatureException("x", VirtioFeatures.Version1, VhostUserProtocolFeatures.Config),
            new VirtqueueException(1, VirtqueueFault.IndexRunaway, "x"),
        ];
        all.Should().OnlyContain(exception => !exception.ShouldReconnect);
        new VhostUserDisconnectedException("x", new IOException()).ShouldReconnect.Should().BeTrue();
        new VhostUserDisconnectedException("x", all[1]).ShouldReconnect.Should().BeFalse("the reason before decides");
        new VhostUserDisconnectedException("x", new VhostUserTimeoutException("x")).ShouldReconnect.Should().BeTrue();
        new VhostUserProtocolException(VhostUserViolation.TruncatedMessage, "x").ShouldReconnect.Should().BeTrue("the peer was killed while it spoke");
        new VhostUserTimeoutException("x").ShouldReconnect.Should().BeTrue();
        ((VhostUserRejectedException)all[2]).ReplyCode.Should().Be(7);
        ((VhostUserFeatureException)all[3]).Missing.Should().Be(VirtioFeatures.Version1);
        ((VhostUserFeatureException)all[3]).MissingProtocol.Should().Be(VhostUserProtocolFeatures.Config);
    }

    [Fact]
    public void A_queue_names_itself_and_its_fault()
    {
        VirtqueueException exception = new(3, VirtqueueFault.ChainTooLong, "257 descriptors, 256 allowed");
        exception.QueueIndex.Should().Be(3);
        exception.Fault.Should().Be(VirtqueueFault.ChainTooLong);
        exception.Message.Should().Be("Queue 3 failed (ChainTooLong): 257 descriptors, 256 allowed");
    }

    [Theory]
    [InlineData(2, "open /x: No such file or directory (ENOENT 2)")]
    [InlineData(111, "open /x: Connection refused (ECONNREFUSED 111)")]
    public void A_system_call_names_its_error(int errno, string message)
    {
        LinuxException exception = new("open /x", errno);
        exception.Message.Should().Be(message);
        exception.Errno.Should().Be(errno);
        exception.Operation.Should().Be("open /x");
    }

    [Fact]
    public void Every_error_number_has_a_text()
    {
        for (int errno = -1; errno < 200; errno++)
            new LinuxException("x", errno).Message.Should().EndWith($" {errno})");
    }
}
