using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class MessageDocumentTests
{
    [Fact]
    public void The_checked_in_table_is_the_contracts() =>
        CheckedInText.Compare(RepositoryRoot.File("docs", "messages.md"), MessageDocument.Render(), "UPDATE_DOCS").Should().BeNull();
}
